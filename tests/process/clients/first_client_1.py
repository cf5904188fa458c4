# first_client.py
import random, socket, struct, sys, zlib

HELLO, PING, CREATE, PUBLISH, FETCH, SUBSCRIBE = 0x01, 0x03, 0x10, 0x20, 0x21, 0x22
CREDIT, DELIVER, EVENT, RESPONSE, ONEWAY, WINDOW = 0x24, 0x25, 0x26, 0x01, 0x04, 1 << 16
HEAD = struct.Struct(">IHBBBBHHHQII")  # the header but for header_crc
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
stream, last_id = connection.makefile("rb"), 0

def str8(text): return bytes([len(text.encode())]) + text.encode()

def send(opcode, flags, request_id, args, payload=b""):
    head = HEAD.pack(32 + len(args) + len(payload), 0xC448, 1, opcode, flags, 0, len(args), 0, 0,
                     request_id, zlib.crc32(args), zlib.crc32(payload))
    connection.sendall(head + struct.pack(">I", zlib.crc32(head)) + args + payload)

def receive():
    while True:
        head = stream.read(36)
        assert len(head) == 36, "the node closed the connection"
        length, magic, _, opcode, flags, status, args_len, _, _, request_id, *sums = HEAD.unpack(head[:32])
        assert magic == 0xC448 and head[32:] == struct.pack(">I", zlib.crc32(head[:32])), "no frame"
        assert 32 + args_len <= length <= (1 << 20) - 4, "not a length"
        args, payload = stream.read(args_len), stream.read(length - 32 - args_len)
        assert [zlib.crc32(args), zlib.crc32(payload)] == sums, "damaged on the way"
        if opcode == PING and not flags & RESPONSE:
            send(PING, RESPONSE, request_id, args)  # the node asks whether we are there
        elif status >= 0x40:  # of an answer, of GOAWAY, or of an EVENT that ends the subscription
            sys.exit(f"status 0x{status:02X}: {args!r}")
        else:
            return opcode, flags, request_id, args, payload

def call(opcode, args, payload=b""):
    global last_id
    last_id += 1
    send(opcode, 0, last_id, args, payload)
    while True:
        _, flags, request_id, args, payload = receive()
        if flags & RESPONSE and request_id == last_id:
            return args, payload

def show(args, payload):  # of FETCH or DELIVER; gives the offset that comes next
    offset = struct.unpack_from(">Q", args, 20)[0]
    while payload:
        size, attrs = struct.unpack_from(">IB", payload)
        value, payload = payload[5:4 + size], payload[4 + size:]
        value = value[8:] if attrs & 1 else value  # the timestamp
        for bit in (2, 4):  # the key, the headers
            value = value[2 + int.from_bytes(value[:2], "big"):] if attrs & bit else value
        print(offset, value.decode(errors="replace"), flush=True)
        offset += 1
    return offset

topic = str8("first-client")
hello = struct.pack(">BBBBHHIIIQQ", 1, 1, 1, 0, 0xFFFF, 0, 0, 1 << 20, 0, 0, random.getrandbits(64))
call(HELLO, hello + str8("") + str8("first-client"))
call(CREATE, struct.pack(">QQQ", 0, 0, 0) + topic)
batch = b"".join(struct.pack(">IB", 1 + len(value), 0) + value for value in (b"hello", b"world"))
args, _ = call(PUBLISH, struct.pack(">QIQIQ", 0, 0, 0, 2, 0) + topic, batch)
topic_id, epoch, base_offset = struct.unpack_from(">QIQ", args)
cursor = show(*call(FETCH, struct.pack(">BQIIIIQ", 0, base_offset, epoch, 0, 2, 0, topic_id) + topic))
call(SUBSCRIBE, struct.pack(">BQIQQ", 0, cursor, epoch, WINDOW, topic_id) + topic)
print("subscribed from", cursor, flush=True)
handled = 0
while True:
    opcode, _, _, args, payload = receive()
    if opcode == EVENT:
        cursor, gap = struct.unpack_from(">Q", args, 8)[0], cursor
        print("retention removed", gap, "to", cursor - 1, flush=True)
    elif opcode == DELIVER:
        assert struct.unpack_from(">Q", args, 20)[0] == cursor, "a fault of the node"
        cursor, handled = show(args, payload), handled + len(payload)
        send(CREDIT, ONEWAY, last_id, struct.pack(">Q", handled + WINDOW))
