import base64, hashlib, struct, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

count = 0

def counting():
    global count
    while True:
        count += 1
        time.sleep(0.05)

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/events":
            return self.events()
        if self.path == "/socket":
            return self.socket()
        if self.path == "/download":
            return self.download()
        if self.path == "/secrets":
            return self.say(f"{self.headers['Authorization']} {self.headers['Cookie']}")
        self.say(f"GET {self.path} for {self.headers['Host']} from {self.headers['X-Forwarded-For']}")

    def say(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self):
        left = self.headers["Content-Length"]
        self.send_response(200)
        if left:
            self.send_header("Content-Length", left)
            self.end_headers()
            left = int(left)
            while left > 0:
                piece = self.rfile.read(min(left, 1 << 16))
                left -= len(piece)
                self.wfile.write(piece)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            n = int(self.rfile.readline(), 16)
            piece = self.rfile.read(n)
            self.rfile.readline()
            self.wfile.write(b"%x\r\n%s\r\n" % (n, piece))
            if n == 0:
                return

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            self.wfile.write(f"data: {count}\n\n".encode())
            time.sleep(0.2)

    def download(self):
        self.send_response(200)
        self.send_header("Content-Length", str(512 * 4096 * 16))
        self.end_headers()
        for i in range(512):
            self.wfile.write(b"%015d\n" % i * 4096)

    def socket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return
            n = head[1] & 127  # the test's messages are short
            mask = self.rfile.read(4)
            text = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(n)))
            self.wfile.write(struct.pack("BB", head[0], n) + text)

class Server(ThreadingHTTPServer):
    request_queue_size = 256

threading.Thread(target=counting, daemon=True).start()
server = Server(("127.0.0.1", 3000), Handler)
print("listening", flush=True)
server.serve_forever()
