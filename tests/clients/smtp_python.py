"""Sends to the sandbox's mail server with Python's own client, by each login, and meets the refusals of Exchange Online."""

import base64
import json
import smtplib
import ssl
import sys

import requests

with open(sys.argv[1]) as file:
    GIVEN = json.load(file)
CONTEXT = ssl.create_default_context(cafile=GIVEN["ca"])
OWN = GIVEN["user"]


def ok(what):
    print("ok", what)


def connect():
    client = smtplib.SMTP("localhost", GIVEN["port"])
    client.ehlo()
    assert not client.has_extn("auth"), "no login without encryption"
    client.starttls(context=CONTEXT)
    client.ehlo()
    return client


def mail(sender, size=0):
    return f"From: Documents <{sender}>\r\nTo: a@elsewhere.example\r\nSubject: x\r\n\r\n{'x' * 70}\r\n" + ("y" * 70 + "\r\n") * (size // 72)


def refused(code, text, client, sender, content):
    try:
        client.sendmail(sender, ["a@elsewhere.example"], content)
    except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
        assert error.smtp_code == code and error.smtp_error.decode().startswith(text), error
    else:
        raise AssertionError(f"not refused: {text}")


client = connect()
names = [line.split()[0].upper() for line in client.ehlo_resp.decode().splitlines()[1:]]
assert names == ["SIZE", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "AUTH", "8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8"], names
assert client.esmtp_features["auth"].split() == ["LOGIN", "XOAUTH2"], client.esmtp_features
assert client.docmd("AUTH", "PLAIN AGEAYg==") == (504, b"5.7.4 Unrecognized authentication type")
ok("extensions")

client.login(OWN, GIVEN["password"])
client.sendmail(OWN, ["a@elsewhere.example"], mail(OWN))
client.sendmail("shared@contoso.example", ["a@elsewhere.example"], mail("shared@contoso.example"))
ok("LOGIN, and a sender with the right Send As")

# Exchange takes MAIL and RCPT, and refuses after the contents: for the envelope, and for the header.
for envelope, header in [("alice@contoso.example", OWN), (OWN, "alice@contoso.example")]:
    denied = f"5.2.252 SendAsDenied; {OWN} not allowed to send as alice@contoso.example"
    refused(554, denied, client, envelope, mail(header))
ok("a sender without the right Send As")

assert client.docmd("MAIL", f"FROM:<{OWN}> SIZE=200000")[0] == 552
ok("an announced size")
# A client that announces no size learns of the limit after the contents.
client.mail(OWN)
client.rcpt("a@elsewhere.example")
assert client.data(mail(OWN, 120_000)) == (552, b"5.3.4 Message size exceeds fixed maximum message size")
ok("a size that was not announced")

# Contents in chunks, which may have any bytes.
client.mail(OWN, ["BODY=BINARYMIME"])
client.rcpt("a@elsewhere.example")
content = mail(OWN).encode()
for part, last in [(content[:40], ""), (content[40:], " LAST")]:
    client.send(f"BDAT {len(part)}{last}\r\n".encode() + part)
    code, text = client.getreply()
    assert code == 250, (code, text)
client.quit()
other = connect()
other.login("relay", "relay-password")
other.sendmail("anybody@contoso.example", ["a@elsewhere.example"], mail("anybody@contoso.example"))
other.quit()
ok("chunks, and a login that is no mailbox")

http = requests.Session()
http.trust_env, http.verify = False, GIVEN["ca"]
form = {"grant_type": "client_credentials", "client_id": GIVEN["direct"], "client_secret": GIVEN["secret"], "scope": "https://outlook.office365.com/.default"}
token = http.post(f"{GIVEN['address']}/{GIVEN['tenant']}/oauth2/v2.0/token", data=form).json()["access_token"]
client = connect()
wrong = base64.b64encode(f"user={OWN}\1auth=Bearer wrong\1\1".encode()).decode()
assert client.docmd("AUTH", f"XOAUTH2 {wrong}")[0] == 535
client.auth("XOAUTH2", lambda challenge=None: f"user={OWN}\1auth=Bearer {token}\1\1")
client.sendmail(OWN, ["a@elsewhere.example"], mail(OWN))
refused(554, "5.2.252 SendAsDenied", client, OWN, mail("alice@contoso.example"))
ok("XOAUTH2")
