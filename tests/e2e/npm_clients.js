// Promise: npm's pg and postgres work as they are: TLS with SCRAM, parameters, prepared statements,
// cursors, COPY, errors with SQLSTATE, cancel.
//
// usage: node npm_clients.js HOST PORT USER PASSWORD CA_FILE NODE_MODULES
//
// The server holds 100 events of merchant 1 and of merchant 2, a millisecond apart.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { Readable } = require('stream');
const { pipeline } = require('stream/promises');

const [host, port, user, password, ca, modules] = process.argv.slice(2);
const pg = require(path.join(modules, 'pg'));
const Cursor = require(path.join(modules, 'pg-cursor'));
const { from: copyFrom, to: copyTo } = require(path.join(modules, 'pg-copy-streams'));
const postgres = require(path.join(modules, 'postgres'));

const tls = { ca: fs.readFileSync(ca), rejectUnauthorized: true };
const START_MS = 1700000000000;
const ENDLESS = 'SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b';

async function withPg(test) {
  const db = new pg.Client({ host, port, user, password, database: 'tally', ssl: tls });
  await db.connect();
  try {
    await test(db);
  } finally {
    await db.end();
  }
}

async function withPostgres(test) {
  const sql = postgres({ host, port, user, password, database: 'tally', ssl: tls, max: 1, onnotice() {} });
  try {
    await test(sql);
  } finally {
    await sql.end();
  }
}

const tests = {
  async pgAsks() {
    await withPg(async (db) => {
      for (let i = 0; i < 6; i++) {
        const merchant = 1 + i % 2;
        const r = await db.query({
          name: 'panel',
          text: 'SELECT merchant_id, count(*) AS n, min(ts) AS first, max(path) AS path, sum(revenue) AS revenue ' +
                'FROM events WHERE merchant_id = $1 AND path = $2 GROUP BY 1',
          values: [merchant, '/'],
        });
        assert.deepStrictEqual(r.rows, [{ merchant_id: String(merchant), n: '100', first: new Date(START_MS),
                                          path: '/', revenue: null }]);
      }
      const r = await db.query('SELECT $1::numeric(10, 4) AS a, $2::boolean AS b, $3::float8 AS c, $4::text AS d, ' +
                               '$5::timestamptz AS e, $6::text[] AS f, NULL AS g',
                               ['-12.3400', true, -0.25, 'caf\u00e9 \u{1f600}', new Date(START_MS), ['x', null, 'y"']]);
      assert.deepStrictEqual(r.rows[0], { a: '-12.3400', b: true, c: -0.25, d: 'caf\u00e9 \u{1f600}',
                                          e: new Date(START_MS), f: ['x', null, 'y"'], g: null });
      const many = await db.query('SELECT 1 AS a; SELECT 2 AS b');
      assert.deepStrictEqual(many.map((m) => m.rows), [[{ a: 1 }], [{ b: 2 }]]);
    });
  },
  async pgRefuses() {
    await withPg(async (db) => {
      await assert.rejects(db.query('SELECT nothing FROM events'), { code: '42703', position: '8' });
      await assert.rejects(db.query('SELECT $1::int', ['x']), { code: '22P02' });
      assert.strictEqual((await db.query('SELECT 1 AS a')).rows[0].a, 1);
    });
  },
  async pgCursor() {
    await withPg(async (db) => {
      const cursor = db.query(new Cursor('SELECT merchant_id FROM events ORDER BY 1'));
      let rows = 0;
      for (let part = await cursor.read(30); part.length > 0; part = await cursor.read(30))
        rows += part.length;
      await cursor.close();
      assert.strictEqual(rows, 200);
    });
  },
  async pgCancels() {
    await withPg(async (db) => {
      const running = assert.rejects(db.query(ENDLESS), { code: '57014' });
      // A cancel that comes before its query cancels nothing: it is sent until the query has ended.
      const again = setInterval(() => {
        const connection = new pg.Connection({ ssl: false });
        connection.on('connect', () => connection.cancel(db.processID, db.secretKey));
        connection.on('error', () => {});
        connection.connect(Number(port), host);
      }, 100);
      await running;
      clearInterval(again);
      assert.strictEqual((await db.query('SELECT 1 AS a')).rows[0].a, 1);
    });
  },
  async pgCopies() {
    await withPg(async (db) => {
      const lines = [];
      for (let i = 0; i < 500; i++)
        lines.push(`88\t2024-06-01 00:00:00+00\t/n${i}\n`);
      await pipeline(Readable.from(lines),
                     db.query(copyFrom('COPY events (merchant_id, ts, path) FROM STDIN')));
      let text = '';
      for await (const chunk of db.query(copyTo('COPY (SELECT count(*) FROM events WHERE merchant_id = 88) TO STDOUT')))
        text += chunk;
      assert.strictEqual(text, '500\n');
    });
  },
  async postgresAsks() {
    await withPostgres(async (sql) => {
      for (let i = 0; i < 6; i++) {
        const merchant = 1 + i % 2;
        const rows = await sql`SELECT merchant_id, count(*)::int AS n, min(ts) AS first FROM events
                               WHERE merchant_id = ${merchant} AND path = ${'/'} GROUP BY 1`;
        assert.deepStrictEqual([...rows], [{ merchant_id: String(merchant), n: 100, first: new Date(START_MS) }]);
      }
      const paths = await sql`SELECT count(*)::int AS n FROM events WHERE path = ANY(${['/', '/x']}) AND merchant_id < 3`;
      assert.strictEqual(paths[0].n, 200);
      await sql.begin('read only', async (block) => {
        assert.strictEqual((await block`SELECT 7 AS a`)[0].a, 7);
      });
    });
  },
  async postgresCursor() {
    await withPostgres(async (sql) => {
      let rows = 0;
      await sql`SELECT merchant_id FROM events WHERE merchant_id < 3`.cursor(30, (part) => { rows += part.length; });
      assert.strictEqual(rows, 200);
    });
  },
  async postgresRefuses() {
    await withPostgres(async (sql) => {
      await assert.rejects(sql`SELECT nothing FROM events`, { code: '42703' });
      assert.strictEqual((await sql`SELECT 1 AS a`)[0].a, 1);
    });
  },
  async postgresCancels() {
    await withPostgres(async (sql) => {
      const query = sql.unsafe(ENDLESS).execute();
      const rejected = assert.rejects(query, { code: '57014' });
      const again = setInterval(() => query.cancel(), 100);
      await rejected;
      clearInterval(again);
    });
  },
};

(async () => {
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test();
      console.log(`ok   npm ${name}`);
    } catch (e) {
      console.log(`FAIL npm ${name}`, e);
      failed++;
    }
  }
  process.exit(failed === 0 ? 0 : 1);
})();
