"""A program for tests of `command`, of the standard library."""

# A server on the inherited listener, as by uvicorn: it says who it is, and drains on SIGTERM.
SERVER = """
import http.server, json, os, signal, socket, sys, threading, time
VERSION = "one"
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1)
        names = ("PORT", "HOST", "LISTEN_FDS", "LISTEN_PID", "VIRTUAL_ENV")
        body = json.dumps({
            "pid": os.getpid(), "version": VERSION, "path": self.path, "cwd": os.getcwd(),
            "PATH": os.environ["PATH"].split(":")[0],
            **{name: os.environ.get(name) for name in names},
        }).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    def get_request(self):
        connection, address = super().get_request()
        connection.setblocking(True)
        return connection, address
server = Server(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[1]))
stop = lambda *_: threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, stop)
print("serving as", os.getpid())
server.serve_forever(poll_interval=0.02)
server.server_close()
"""
