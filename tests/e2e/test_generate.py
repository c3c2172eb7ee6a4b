#!/usr/bin/env python3
"""`tally generate` into a server that is killed and started again, and the demo.

usage: test_generate.py BUILD_DIR
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build/release")
TALLY = os.path.join(BUILD, "tally")
TALLYD = os.path.join(BUILD, "tallyd")
SUMS = ("count(*), count(DISTINCT session_id), count(DISTINCT visitor_id), sum(revenue), "
        "sum(duration_ms), min(ts), max(ts)")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Generate(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="tally-generate-")
        self.data = os.path.join(self.work, "data")
        self.address = f"127.0.0.1:{free_port()}"
        self.server = None

    def tearDown(self):
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server.stdout.close()
        shutil.rmtree(self.work)

    def start(self):
        self.server = subprocess.Popen([TALLYD, "--data", self.data, "--grpc", self.address],
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.assertIn(b"ready", self.server.stdout.readline())

    def kill(self, how):
        self.server.send_signal(how)
        code = self.server.wait(60)
        self.server.stdout.close()
        self.server = None
        return code

    def tally(self, *args):
        return subprocess.run([TALLY, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True)

    def ask(self, sql, *where):
        done = self.tally("query", *where, "--format", "csv", sql)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()[1]

    def rows(self):
        done = self.tally("status", "--server", self.address, "--json")
        return json.loads(done.stdout)["ingested_rows"] if done.returncode == 0 else 0

    def test_killed_server(self):
        """What was not acknowledged is sent again after kill -9; nothing is lost or doubled."""
        options = ["--seed", "3", "--events", "1000000", "--merchants", "500", "--batch-rows",
                   "2000"]
        reference = os.path.join(self.work, "reference")
        self.assertEqual(self.tally("generate", *options, "--data", reference).returncode, 0)
        self.start()
        client = subprocess.Popen([TALLY, "generate", *options, "--server", self.address, "--json"],
                                  stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            until = time.time() + 20
            while self.rows() < 50000 and client.poll() is None and time.time() < until:
                time.sleep(0.005)
            if client.poll() is not None:
                break
            self.kill(signal.SIGKILL)
            time.sleep(0.1)
            self.start()
        out, _ = client.communicate(timeout=120)
        self.assertEqual(client.returncode, 0)
        result = json.loads(out)
        self.assertEqual(result["events"], 1000000)
        self.assertEqual(result["refused"], 0)
        self.assertEqual(self.ask(f"SELECT {SUMS} FROM events", "--server", self.address),
                         self.ask(f"SELECT {SUMS} FROM events", "--data", reference))
        self.assertEqual(self.kill(signal.SIGTERM), 0)

    def test_interrupted_client(self):
        """A run that was interrupted is completed by the same command."""
        options = ["--seed", "4", "--events", "600000", "--merchants", "500", "--server",
                   self.address, "--batch-rows", "1000"]
        self.start()
        client = subprocess.Popen([TALLY, "generate", *options], stderr=subprocess.PIPE, text=True)
        while self.rows() < 20000 and client.poll() is None:
            time.sleep(0.005)
        client.send_signal(signal.SIGINT)
        _, err = client.communicate(timeout=60)
        if client.returncode != 0:  # else it was done before the signal came
            self.assertEqual(client.returncode, 130)
            self.assertIn("interrupted", err)
        self.assertEqual(self.tally("generate", *options).returncode, 0)
        self.assertEqual(self.ask("SELECT count(*) FROM events", "--server", self.address),
                         "600000")
        self.assertEqual(self.kill(signal.SIGTERM), 0)

    def test_no_server(self):
        done = self.tally("query", "--server", self.address, "SELECT 1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("connecting to", done.stderr)

    def test_directory_in_use(self):
        self.start()
        done = self.tally("query", "--data", self.data, "SELECT 1")
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(self.server.pid), done.stderr)
        done = self.tally("status", "--data", self.data, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_demo(self):
        if os.path.realpath(BUILD) != os.path.realpath(os.path.join(ROOT, "build/release")):
            self.skipTest("the demo runs the release build")
        done = subprocess.run([os.path.join(ROOT, "tools/demo"), "--no-build", "--events", "200000",
                               "--merchants", "2000"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"200,000 events stored in")
        self.assertRegex(done.stdout, r"bytes per event")
        self.assertIn("the server stopped cleanly", done.stdout)
        self.assertTrue(re.search(r"Time: .* ms", done.stdout))


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Generate)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.wasSuccessful() else 1)
