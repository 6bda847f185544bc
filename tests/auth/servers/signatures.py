"""Checks signatures with libraries that are not gatherd's: botocore, PyJWT, and Python's own hmac.

    signatures.py FOLDER    writes private keys into FOLDER, and says where it listens
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

KEYS = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
SEEN_IDS = set()


def write_keys(folder):
    for name, key in KEYS.items():
        (folder / f"{name}.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for name in ["rsa", "p256"]:
        older = KEYS[name].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (folder / f"{name}-traditional.pem").write_bytes(older)


def check_sigv4(method, target, headers, body):
    pattern = r"AWS4-HMAC-SHA256 Credential=AKID/\d{8}/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)"
    region, service, signed, signature = re.fullmatch(pattern, headers["authorization"]).groups()
    signed = signed.split(";")
    required = {"host", "x-amz-date"} | ({"content-type"} if "content-type" in headers else set())
    required |= {"x-amz-security-token"} if "x-amz-security-token" in headers else set()
    assert required <= set(signed), f"not signed: {required - set(signed)}"
    kept = {name: headers[name] for name in signed if name != "host"}
    request = AWSRequest(method=method, url=f"http://{headers['host']}{target}", data=body, headers=kept)
    request.context["timestamp"] = headers["x-amz-date"]
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    signer = kind(Credentials("AKID", "secret/key+of=aws"), service, region)
    canonical = signer.canonical_request(request)
    expected = signer.signature(signer.string_to_sign(request, canonical), request)
    assert hmac.compare_digest(expected, signature), f"expected {expected} for {canonical!r}"


def check_hmac(method, target, headers, body):
    path, _, query = target.partition("?")
    digest = hashlib.sha256(body).hexdigest()
    message = "\n".join([method, headers["host"], path, query, headers["x-time"], headers["x-nonce"], digest])
    secret, algorithm, encode = {
        "hex": (b"shared secret", "sha256", lambda mac: mac.hex()),
        "base64": (b"\x00\xffbinary", "sha512", lambda mac: base64.b64encode(mac).decode()),
    }[headers["x-form"]]
    expected = encode(hmac.new(secret, message.encode(), algorithm).digest())
    assert hmac.compare_digest(f"me:{expected}", headers["authorization"]), f"expected {expected} for {message!r}"


def check_assertion(form, url):
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert form["grant_type"] == "client_credentials" and "client_secret" not in form
    header = jwt.get_unverified_header(form["client_assertion"])
    key, algorithm = header["kid"].split()
    assert header["alg"] == algorithm, header
    options = {"require": ["exp", "iat", "iss", "sub", "aud", "jti"]}
    claims = jwt.decode(
        form["client_assertion"], KEYS[key].public_key(), [algorithm], audience=url, issuer="me", options=options
    )
    assert claims["sub"] == "me" and claims["exp"] - claims["iat"] <= 600, claims
    assert claims["jti"] not in SEEN_IDS, "an assertion came twice"
    SEEN_IDS.add(claims["jti"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            reply = self.checked(headers, body)
            status = 200
        except Exception as error:
            reply, status = {"error": f"{type(error).__name__}: {error}"}, 400
        reply = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def checked(self, headers, body):
        if self.path == "/token":
            form = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True))
            check_assertion(form, f"http://{headers['host']}/token")
            return {"access_token": "asserted", "token_type": "Bearer", "expires_in": 60}
        if headers.get("authorization") == "Bearer asserted":
            return "good"
        check = check_hmac if "x-form" in headers else check_sigv4
        check(self.command, self.path, headers, body)
        return "good"

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    write_keys(Path(sys.argv[1]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"listening on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()
