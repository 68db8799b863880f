# Python 3.11: aiohttp + aiosmtplib + uvloop (Debian packages), a pool of sessions.
peer_kind=http
peer_exec() { exec /usr/bin/python3 "$HERE/peers/py/server.py"; }
