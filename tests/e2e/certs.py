"""Certificates for the tests, made with the openssl command once per run: a CA, and one leaf for each way to be
wrong."""
import os
import subprocess

_CONF = """
[ca]
default_ca = ours
[ours]
dir = {d}
database = {d}/index
serial = {d}/serial
crlnumber = {d}/crlnumber
new_certs_dir = {d}
certificate = {d}/ca.pem
private_key = {d}/ca.key
default_md = sha256
default_crl_days = 30
unique_subject = no
policy = any
[any]
commonName = supplied
[v3_ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
[leaf_elsewhere]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:mx.elsewhere.test
[leaf_named]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:relay.example.com,DNS:mail,{providers}
[leaf_no_san]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
[leaf_client]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = clientAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
"""


# Hosts of providers: in tests the resolver shim leads them to a scripted peer, which has a certificate for them.
PROVIDERS = """smtp.gmail.com smtp-relay.gmail.com smtp.office365.com smtp-mail.outlook.com
    contoso-com.mail.protection.outlook.com smtp.mail.yahoo.com smtp.mail.me.com email-smtp.eu-west-1.amazonaws.com
    smtp.sendgrid.net smtp.mailgun.org smtp.postmarkapp.com smtp-relay.brevo.com
    in-v3.mailjet.com smtp.resend.com""".split()


class CertificateMaker:
    def __init__(self, directory):
        self.dir = directory
        os.makedirs(directory, exist_ok=True)
        for name, text in (
            ("openssl.cnf", _CONF.format(d=directory, providers=",".join("DNS:" + p for p in PROVIDERS))),
            ("index", ""),
            ("serial", "1000\n"),
            ("crlnumber", "01\n"),
        ):
            with open(self.path(name), "w", encoding="ascii") as f:
                f.write(text)

    def path(self, name):
        return os.path.join(self.dir, name)

    def openssl(self, *args):
        done = subprocess.run(
            ["openssl", *args], cwd=self.dir, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError("openssl %s: %s" % (" ".join(args), done.stderr))

    def key(self, name, bits=None):
        if bits:
            self.openssl("genrsa", "-out", name + ".key", str(bits))
        else:
            self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", name + ".key")

    def authority(self, name, common_name):
        self.key(name)
        self.openssl(
            "req",
            "-config",
            "openssl.cnf",
            "-x509",
            "-new",
            "-key",
            name + ".key",
            "-days",
            "3650",
            "-subj",
            "/CN=" + common_name,
            "-extensions",
            "v3_ca",
            "-out",
            name + ".pem",
        )

    def sign(
        self,
        name,
        extensions="leaf",
        issuer="ca",
        common_name="localhost",
        start=None,
        end=None,
        md="sha256",
        bits=None,
    ):
        self.key(name, bits)
        self.openssl(
            "req",
            "-config",
            "openssl.cnf",
            "-new",
            "-key",
            name + ".key",
            "-subj",
            "/CN=" + common_name,
            "-out",
            name + ".csr",
        )
        args = [
            "ca",
            "-batch",
            "-notext",
            "-config",
            "openssl.cnf",
            "-extensions",
            extensions,
            "-md",
            md,
            "-cert",
            issuer + ".pem",
            "-keyfile",
            issuer + ".key",
            "-in",
            name + ".csr",
            "-out",
            name + ".pem",
        ]
        args += ["-startdate", start] if start else []
        args += ["-enddate", end] if end else ["-days", "3000"]
        self.openssl(*args)

    def append(self, name, other):
        with open(self.path(other + ".pem"), encoding="ascii") as f:
            text = f.read()
        with open(self.path(name + ".pem"), "a", encoding="ascii") as f:
            f.write(text)


def make(directory):
    """Fills `directory`: NAME.pem (chain) and NAME.key for each leaf, ca.pem, and ca.crl, which revokes `revoked`."""
    m = CertificateMaker(directory)
    m.authority("ca", "mailhatch test CA")
    m.authority("otherca", "somebody else's CA")
    m.sign("good")
    m.sign("named", extensions="leaf_named", common_name="relay.example.com")
    m.sign("expired", start="20200101000000Z", end="20210101000000Z")
    m.sign("future", start="20440101000000Z", end="20450101000000Z")
    m.sign("wrongname", extensions="leaf_elsewhere", common_name="mx.elsewhere.test")
    m.sign("nosan", extensions="leaf_no_san")
    m.sign("clientonly", extensions="leaf_client")
    m.sign("unknownca", issuer="otherca")
    m.sign("weakkey", bits=1024)
    m.sign("inter", extensions="v3_ca", common_name="mailhatch test intermediate")
    m.sign("chained", issuer="inter")
    m.sign("chainless", issuer="inter")
    m.append("chained", "inter")
    m.sign("rsa", issuer="inter", bits=2048)
    m.append("rsa", "inter")
    m.sign("sha1", md="sha1")
    m.key("selfsigned")
    m.openssl(
        "req",
        "-config",
        "openssl.cnf",
        "-x509",
        "-new",
        "-key",
        "selfsigned.key",
        "-days",
        "3000",
        "-subj",
        "/CN=localhost",
        "-extensions",
        "leaf",
        "-out",
        "selfsigned.pem",
    )
    m.sign("revoked")
    m.openssl("ca", "-config", "openssl.cnf", "-revoke", "revoked.pem")
    m.openssl("ca", "-config", "openssl.cnf", "-gencrl", "-out", "ca.crl")
    return directory
