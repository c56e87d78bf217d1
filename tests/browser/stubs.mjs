// What a server without these calls would answer: figures of all webhooks at once, code for receivers, and a live
// stream. Where the server has them, its own answers are used.

export async function stubMissing(page, site, client) {
  const stubbed = [];
  const missing = async (path) => (await client.call("GET", path)).status === 404;
  const webhook = (await client.good("GET", "/api/v1/webhooks?limit=1")).data[0].id;
  if (await missing("/api/v1/stats/webhooks")) {
    stubbed.push("stats/webhooks");
    await page.route("**/api/v1/stats/webhooks*", async (route) => route.fulfill({ json: await figures(client) }));
  }
  if (await missing(`/api/v1/webhooks/${webhook}/verifier?language=node`)) {
    stubbed.push("verifier");
    await page.route("**/api/v1/webhooks/*/verifier*", (route) => {
      const language = new URL(route.request().url()).searchParams.get("language");
      const code = `# ${language}: <b>verify</b>\nverify(secret, headers, body)\n`;
      return route.fulfill({
        json: { language, file_name: `verify.${language}`, code, notes: ["Compare in constant time <i>always</i>."] },
      });
    });
  }
  return stubbed;
}

async function figures(client) {
  const webhooks = (await client.good("GET", "/api/v1/webhooks?limit=200")).data;
  const hour = 3_600_000;
  const begin = Math.floor(Date.now() / hour) * hour;
  const rows = await Promise.all(
    webhooks.map(async (one, number) => {
      const stats = await client.good("GET", `/api/v1/webhooks/${one.id}/stats`);
      const hours = Array.from({ length: 24 }, (_, index) => {
        const last = index === 23;
        const attempts = last
          ? stats.last_day.attempts
          : Math.max(0, Math.round((6 + 5 * Math.sin(index / 3 + number)) * (number + 1)) - 4);
        const failed = last
          ? attempts - stats.last_day.succeeded
          : one.inactive?.reason === "exhausted"
            ? attempts
            : (index * 7 + number) % 9 === 0
              ? Math.ceil(attempts / 6)
              : 0;
        return {
          from: new Date(begin - (23 - index) * hour).toISOString(),
          attempts,
          succeeded: attempts - failed,
          delivered: attempts - failed,
          failed: 0,
        };
      });
      const { now, ...rest } = stats;
      return { ...rest, ...now, hours };
    }),
  );
  return { data: rows, next_cursor: null };
}
