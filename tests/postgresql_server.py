"""Starts and stops a real PostgreSQL for the tests that compare with it, in a temporary folder and on a free port."""

import glob
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile

import psycopg

USER = "compare"
DATABASE = "postgres"


class PostgreSQL:
    """A server of its own. By its socket everybody may connect; over TCP it wants a password. It does not run as root, so that the
    package's user does."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
        on_path = shutil.which("initdb")
        if not found and not on_path:
            raise SystemExit("there is no PostgreSQL server here: apt-get install postgresql")
        self.bin = pathlib.Path(on_path or found[-1]).parent
        self.folder = tempfile.mkdtemp(prefix="fleuve-postgresql-")
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        self.port = None

    def run(self, *command):
        name = self.user and pwd.getpwnam(self.user)
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, user=name and name.pw_uid, group=name and name.pw_gid
        )

    def start(self):
        data = f"{self.folder}/data"
        initdb = [self.bin / "initdb", "-D", data, "-U", USER, "--no-sync", "--no-instructions", "--locale=C.UTF-8"]
        # `md5` takes a password that is kept as scram-sha-256 by that.
        self.run(*initdb, "--auth-local=trust", "--auth-host=md5")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = f"-k {self.folder} -c listen_addresses=127.0.0.1 -c port={self.port} -c timezone=UTC -c fsync=off"
        self.run(self.bin / "pg_ctl", "-D", data, "-o", options, "-l", f"{self.folder}/log", "-w", "start")
        return self

    def connect(self):
        connection = psycopg.connect(f"host={self.folder} port={self.port} user={USER} dbname={DATABASE}", autocommit=True)
        connection.execute("SET statement_timeout = 20000")
        return connection

    def stop(self):
        try:
            if self.port:
                self.run(self.bin / "pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
