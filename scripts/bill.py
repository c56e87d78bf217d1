"""Finishes a bill of materials and checks that it is whole: bill.py BILL TREE BINARY.

The tool names this package by the path that it was built at; here it gets its package URL and the binary's checksum. The
tool also lists what features that are off would bring; that is taken out, by what `cargo tree` says is compiled in. All of
that must be listed, each with a licence, a checksum and a package URL.
"""

import hashlib
import json
import pathlib
import sys


def main() -> None:
    text, tree, binary = (pathlib.Path(path).read_bytes() for path in sys.argv[1:4])
    bill = json.loads(text)
    own = bill["metadata"]["component"]
    purl = f"pkg:cargo/{own['name']}@{own['version']}"
    bill = json.loads(text.decode().replace(json.dumps(own["bom-ref"])[1:-1], purl))
    own = bill["metadata"]["component"]
    own["purl"] = purl
    own["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(binary).hexdigest()}]

    # `name v1.2.3 (proc-macro)`; the package itself is no part of itself.
    words = [line.split() for line in tree.decode().splitlines() if line]
    compiled = {f"{word[0]} {word[1].removeprefix('v')}" for word in words} - {f"{own['name']} {own['version']}"}
    bill["components"] = [part for part in bill["components"] if f"{part['name']} {part['version']}" in compiled]
    listed = {f"{part['name']} {part['version']}" for part in bill["components"]}
    kept = {part["bom-ref"] for part in bill["components"]} | {purl}
    bill["dependencies"] = [
        {**edge, "dependsOn": [ref for ref in edge.get("dependsOn", []) if ref in kept]}
        for edge in bill["dependencies"]
        if edge["ref"] in kept
    ]
    faults = [f"{part} is compiled in and not listed" for part in sorted(compiled - listed)]
    for part in bill["components"]:
        for wanted in ("licenses", "hashes", "purl"):
            if not part.get(wanted):
                faults.append(f"{part['name']} {part['version']} has no {wanted}")
    if "file://" in json.dumps(bill):
        faults.append("a path of this machine is left in it")
    if not compiled:
        faults.append("nothing is compiled in, so nothing was compared")
    if faults:
        sys.exit("the bill of materials is wrong:\n" + "\n".join(faults))
    json.dump(bill, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
