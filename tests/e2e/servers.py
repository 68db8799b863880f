"""Real mail servers for the interop tests: private instances of Postfix, Exim, OpenSMTPD and Dovecot on a free loopback
port, STARTTLS and AUTH, mail into a Maildir. Exim and OpenSMTPD come unpacked from build/servers (install.sh)
and run in a small chroot, because their paths and users are compiled in. All three want root. Local part
"refused" is refused at RCPT, "later" is deferred; every other mailbox of example.test exists."""
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile

import harness
import peer

USER, PASSWORD = "ann", "correct horse"
HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1] / "build" / "servers"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as s:
            return s.recv(4) == b"220 "
    except OSError:
        return False


class Server:
    """One instance in a directory of its own. Subclasses say what is written there, what is run, and where the
    Maildir is."""

    name = "?"

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-" + self.name + "-"))
        self.port = free_port()
        self.process = None
        try:
            if os.geteuid() != 0:
                raise RuntimeError(self.name + " needs root: run the interop tests as root")
            self.set_up()
            self.log = open(self.dir / "server.out", "wb")
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
            harness.wait_for(lambda: self.process.poll() is not None or answers(self.port), 20, self.name + " answers")
            if self.process.poll() is not None:
                raise RuntimeError(self.name + " did not start: " + self.output())
        except BaseException:
            self.stop()
            raise

    def output(self):
        return "".join(p.read_text(errors="replace") for p in [self.dir / "server.out", *self.logs()] if p.exists())

    def logs(self):
        return []

    def mails(self):
        """What was delivered, oldest first: whole files, as bytes."""
        found = [p for p in self.maildir().rglob("new/*") if p.is_file()]
        return [p.read_bytes() for p in sorted(found, key=lambda p: p.stat().st_mtime_ns)]

    def wait_mails(self, n):
        try:
            harness.wait_for(lambda: len(self.mails()) >= n, 20, "%d mails in the mailbox" % n)
        except AssertionError as e:
            raise AssertionError("%s\n%s" % (e, self.output())) from None
        return self.mails()

    def stop(self):
        if self.process:
            harness.stop_process(self.process)
            self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def chroot_copy(root, files):
    """Copies programs with the libraries they load."""
    wanted = {str(dst): src for dst, src in files}
    for _, src in files:
        with open(src, "rb") as f:
            if f.read(4) != b"\x7fELF":
                continue
        for line in subprocess.run(["ldd", src], capture_output=True, text=True, check=True).stdout.splitlines():
            paths = [w for w in line.split() if w.startswith("/")]
            if paths:
                wanted[paths[0]] = paths[0]
    for dst, src in wanted.items():
        to = root / dst.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(src), to)


def chroot_make(root, files, users):
    chroot_copy(root, files)
    for d in ("dev", "etc", "tmp", "var/run", "run", "mail", "proc"):
        (root / d).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name, minor in (("null", 3), ("zero", 5), ("urandom", 9), ("random", 8)):
        os.mknod(root / "dev" / name, 0o020666, os.makedev(1, minor))
        os.chmod(root / "dev" / name, 0o666)
    users = {"root": 0, "vmail": 990, "nobody": 65534, **users}
    (root / "etc/passwd").write_text(
        "".join("%s:x:%d:%d::%s:/bin/sh\n" % (u, n, n, "/mail" if u == "vmail" else "/") for u, n in users.items())
    )
    (root / "etc/group").write_text("".join("%s:x:%d:\n" % (u, n) for u, n in users.items()) + "mail:x:8:\n")
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost mx.example.test\n")
    (root / "etc/resolv.conf").write_text("")
    os.chown(root / "mail", 990, 990)


class Postfix(Server):
    name = "postfix"
    more = {}  # of main.cf

    def set_up(self):
        owner = pwd.getpwnam("postfix")
        self.dir.chmod(0o755)
        for sub in ("conf", "conf/sasl", "queue", "data", "mail", "log"):
            (self.dir / sub).mkdir()
        for sub in ("data", "mail"):
            os.chown(self.dir / sub, owner.pw_uid, owner.pw_gid)
        certs = harness.certs()
        for name in ("chained.pem", "chained.key"):
            shutil.copy(os.path.join(certs, name), self.dir / "conf" / name)
        (self.dir / "conf/sasl/smtpd.conf").write_text(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s/conf/sasl/db\nmech_list: PLAIN LOGIN\n"
            % self.dir
        )
        subprocess.run(
            ["saslpasswd2", "-p", "-c", "-f", str(self.dir / "conf/sasl/db"), "-u", "mx.example.test", USER],
            input=PASSWORD.encode(),
            check=True,
            capture_output=True,
        )
        os.chown(self.dir / "conf/sasl/db", owner.pw_uid, owner.pw_gid)
        (self.dir / "conf/recipients").write_text(
            "refused@example.test 550 5.1.1 no such user here\nlater@example.test 450 4.2.1 come back later\n"
        )
        (self.dir / "conf/main.cf").write_text(self.main_cf(owner))
        # Debian's list of services, none of them in a chroot, and smtpd on our port alone.
        lines = []
        for line in pathlib.Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
            words = line.split()
            if len(words) < 8 or line[0] in "# \t" or words[0] == "smtp" and words[1] == "inet":
                continue
            words[4] = "n"
            lines.append(" ".join(words))
        lines.append("127.0.0.1:%d inet n - n - - smtpd" % self.port)
        (self.dir / "conf/master.cf").write_text("\n".join(lines) + "\n")

    def main_cf(self, owner):
        d = self.dir
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": d / "queue",
            "data_directory": d / "data",
            "mail_owner": "postfix",
            "myhostname": "mx.example.test",
            "mydestination": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "maillog_file": d / "log/mail.log",
            "maillog_file_prefixes": d,
            "alias_maps": "",
            "alias_database": "",
            "virtual_mailbox_domains": "example.test",
            "virtual_mailbox_base": d / "mail",
            "virtual_mailbox_maps": "static:box/",
            "virtual_uid_maps": "static:%d" % owner.pw_uid,
            "virtual_gid_maps": "static:%d" % owner.pw_gid,
            "virtual_minimum_uid": "1",
            "smtpd_tls_security_level": "encrypt",
            "smtpd_tls_auth_only": "yes",
            "smtpd_tls_cert_file": d / "conf/chained.pem",
            "smtpd_tls_key_file": d / "conf/chained.key",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "cyrus",
            "cyrus_sasl_config_path": d / "conf/sasl",
            "smtpd_sasl_local_domain": "mx.example.test",
            "smtpd_relay_restrictions": "permit_sasl_authenticated,reject",
            "smtpd_recipient_restrictions": "check_recipient_access texthash:%s/conf/recipients,"
            "permit_sasl_authenticated,reject" % d,
            "smtpd_forbid_unauth_pipelining": "yes",
            "smtpd_client_connection_count_limit": "0",
            "smtputf8_enable": "yes",
            "smtpd_error_sleep_time": "0",
            "message_size_limit": "20000000",
            "local_transport": "error:none",
            "default_transport": "error:none",
            **self.more,
        }
        return "".join("%s = %s\n" % pair for pair in settings.items())

    def command(self):
        conf = str(self.dir / "conf")
        subprocess.run(["postfix", "-c", conf, "check"], check=True, capture_output=True)
        where = subprocess.run(
            ["postconf", "-c", conf, "-h", "daemon_directory"], check=True, capture_output=True, text=True
        )
        return [where.stdout.strip() + "/master", "-c", conf, "-d"]

    def logs(self):
        return [self.dir / "log/mail.log"]

    def maildir(self):
        return self.dir / "mail"


class Exim(Server):
    name = "exim"

    def set_up(self):
        root = self.dir / "root"
        exim = TREE / "exim/usr/sbin/exim4"
        chroot_make(root, [("/usr/sbin/exim4", str(exim))], {"Debian-exim": 991})
        certs = harness.certs()
        for sub in ("spool", "log", "mail"):
            (root / sub).mkdir(exist_ok=True)
            os.chown(root / sub, 991, 991)
        for name in ("chained.pem", "chained.key"):
            shutil.copy(os.path.join(certs, name), root / "etc" / name)
            os.chown(root / "etc" / name, 0, 991)
            os.chmod(root / "etc" / name, 0o640)
        (root / "etc/exim4").mkdir()
        (root / "etc/exim4/exim4.conf").write_text(_EXIM_CONF.format(port=self.port, user=USER, password=PASSWORD))

    def command(self):
        return ["chroot", str(self.dir / "root"), "/usr/sbin/exim4", "-bdf", "-q1h"]

    def logs(self):
        return list((self.dir / "root/log").glob("*"))

    def maildir(self):
        return self.dir / "root/mail"


_EXIM_CONF = """
primary_hostname = mx.example.test
exim_path = /usr/sbin/exim4
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = /spool
log_file_path = /log/%slog
keep_environment =
deliver_drop_privilege = true
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
domainlist local_domains = example.test
qualify_domain = example.test
tls_advertise_hosts = *
tls_certificate = /etc/chained.pem
tls_privatekey = /etc/chained.key
auth_advertise_hosts = ${{if def:tls_in_cipher {{*}}}}
smtp_accept_max = 100
smtp_accept_max_per_connection = 1000
smtp_accept_queue_per_connection = 0
rfc1413_hosts =
host_lookup =
acl_smtp_rcpt = acl_rcpt
begin acl
acl_rcpt:
  deny  local_parts = refused
        message = 5.1.1 no such user here
  defer local_parts = later
        message = 4.2.1 come back later
  accept authenticated = *
  deny  message = 5.7.1 relaying denied
begin routers
box:
  driver = accept
  domains = +local_domains
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = /mail
  maildir_format
  create_directory
  return_path_add
  user = Debian-exim
  group = Debian-exim
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and {{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
"""


class OpenSmtpd(Server):
    name = "opensmtpd"

    def set_up(self):
        root = self.dir / "root"
        tree = TREE / "opensmtpd"
        files = [
            ("/usr/sbin/smtpd", str(tree / "usr/sbin/smtpd")),
            ("/usr/sbin/smtpctl", str(tree / "usr/sbin/smtpctl")),
            ("/bin/sh", "/bin/sh"),
            ("/bin/dash", "/bin/sh"),
        ]
        for helper in (tree / "usr/libexec/opensmtpd").iterdir():
            files.append(("/usr/libexec/opensmtpd/" + helper.name, str(helper)))
        repair = self.dir / "key.so"
        subprocess.run(
            [
                "gcc",
                "-D_GNU_SOURCE",
                "-shared",
                "-fPIC",
                "-o",
                str(repair),
                str(HERE / "opensmtpd_key.c"),
                "-lssl",
                "-lcrypto",
            ],
            check=True,
        )
        chroot_make(root, [*files, ("/usr/lib/key.so", str(repair))], {"opensmtpd": 991, "opensmtpq": 992})
        (root / "etc/ld.so.preload").write_text("/usr/lib/key.so\n")
        certs = harness.certs()
        for name in ("rsa.pem", "rsa.key"):
            shutil.copy(os.path.join(certs, name), root / "etc" / name)
            os.chmod(root / "etc" / name, 0o600)
        (root / "var/lib/opensmtpd/empty").mkdir(parents=True)
        (root / "var/spool/smtpd").mkdir(parents=True)
        (root / "var/spool/smtpd").chmod(0o711)
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", PASSWORD], capture_output=True, text=True, check=True
        ).stdout.strip()
        (root / "etc/creds").write_text("%s %s\n" % (USER, hashed))
        (root / "etc/vusers").write_text(
            "refused@example.test error:550 5.1.1 no such user here\n@example.test vmail\n"
        )
        (root / "etc/mailname").write_text("mx.example.test\n")
        (root / "etc/smtpd.conf").write_text(
            'pki ours cert "/etc/rsa.pem"\npki ours key "/etc/rsa.key"\n'
            'table creds file:/etc/creds\ntable vusers file:/etc/vusers\n'
            'listen on 127.0.0.1 port %d tls-require pki ours auth <creds> hostname mx.example.test\n'
            'action "box" maildir "/mail" virtual <vusers>\n'
            'match auth from any for domain "example.test" action "box"\n' % self.port
        )

    def command(self):
        return ["chroot", str(self.dir / "root"), "/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"]

    def maildir(self):
        return self.dir / "root/mail"


def refuse_some(session):
    """RCPT at the server behind Dovecot."""
    refused = session.line.upper().startswith("RCPT TO:<REFUSED@")
    session.act("550 5.1.1 no such user here" if refused else peer.default)


class Dovecot(Server):
    """Dovecot's submission service; the server that it hands its mails to is a Peer."""

    name = "dovecot"

    def set_up(self):
        self.behind = peer.Peer(on={"rcpt": refuse_some}, tls_mode="none", auth="")
        self.dir.chmod(0o755)
        for sub in ("run", "state", "mail"):
            (self.dir / sub).mkdir()
        os.chown(self.dir / "mail", 65534, 65534)
        (self.dir / "users").write_text("%s:{PLAIN}%s\n" % (USER, PASSWORD))
        settings = {"dir": self.dir, "certs": harness.certs(), "port": self.port, "behind": self.behind.port}
        (self.dir / "dovecot.conf").write_text(_DOVECOT_CONF % settings)

    def command(self):
        return ["dovecot", "-F", "-c", str(self.dir / "dovecot.conf")]

    def logs(self):
        return [self.dir / "log"]

    def mails(self):
        return [b"Return-Path: <%s>\r\n" % m.sender.encode() + m.data for m in list(self.behind.mails)]

    def stop(self):
        super().stop()
        if hasattr(self, "behind"):
            self.behind.stop()


_DOVECOT_CONF = """
base_dir = %(dir)s/run
state_dir = %(dir)s/state
log_path = %(dir)s/log
protocols = submission
listen = 127.0.0.1
hostname = mx.example.test
ssl = required
ssl_cert = <%(certs)s/chained.pem
ssl_key = <%(certs)s/chained.key
auth_mechanisms = plain login
passdb {
  driver = passwd-file
  args = %(dir)s/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=%(dir)s/mail
}
first_valid_uid = 1
mail_location = maildir:%(dir)s/mail
mail_max_userip_connections = 100
submission_relay_host = 127.0.0.1
submission_relay_port = %(behind)d
service submission-login {
  inet_listener submission {
    port = %(port)d
  }
  inet_listener submissions {
    port = 0
  }
  chroot =
}
service stats {
  chroot =
}
service anvil {
  chroot =
}
"""
