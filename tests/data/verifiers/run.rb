# frozen_string_literal: true

# Asks generated verifiers what they say of requests: the directory's `cases.json` in, one JSON line for each case out.

require "json"

directory = ARGV.fetch(0)
JSON.parse(File.read("#{directory}/cases.json")).each do |one|
  # All have the same name, so each is loaded into a module of its own.
  space = Module.new
  space.module_eval(File.read("#{directory}/#{one["file"]}"), one["file"])
  verifier = space.const_get(:WebhookVerifier)
  timed = verifier.method(:verify).parameters.include?(%i[key now])
  one["cases"].each_with_index do |wanted, at|
    more = timed ? { now: wanted["now"] } : {}
    # As Rails has them: names in any case.
    given = wanted["headers"].transform_keys(&:downcase)
    why = nil
    begin
      verifier.verify(wanted["body"].unpack1("m0"), ->(name) { given[name.downcase] }, wanted["keys"], **more)
    rescue verifier::Refused, ArgumentError => e
      why = e.message
    end
    puts JSON.generate(name: one["name"], at: at, why: why)
  end
end
