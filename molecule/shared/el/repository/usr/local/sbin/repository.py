"""Everything below /srv/www over https, whatever name it is asked for by."""
import functools
import http.server
import ssl

HANDLER = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/srv/www")
SERVER = http.server.ThreadingHTTPServer(("", 443), HANDLER)
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
CONTEXT.load_cert_chain("/srv/tls/server.crt", "/srv/tls/server.key")
SERVER.socket = CONTEXT.wrap_socket(SERVER.socket, server_side=True)
SERVER.serve_forever()
