// Socket-level load balancing of Services, as Cilium's bpf_sock.c does it: connect(2) and
// sendmsg(2) are pointed at a backend before a packet exists, recvmsg(2) and getpeername(2) show
// the Service again. Nothing is rewritten on the wire and nothing is tracked by netfilter.
//
// All addresses are handled in IPv6 form, IPv4 ones mapped. An IPv6 socket that dials
// ::ffff:10.96.0.1 reaches the connect6 hook with that very address, so it needs no case of its
// own.
//
// A hook may cost 200 ns by the kernel's run-time statistics, of which an empty program shows 50 to
// 70. Measured beside that: a lookup in a hash map takes 55 to 85, a random number 40, a spin lock
// 100, an insertion into an LRU map 400, one into socket storage 1,000. So none of these is on the
// ordinary path: Services lie in a table that is hashed here, the cookie of the socket makes the
// random choice, and what a socket dialled is remembered in a slot of its own, without a lock.
// clang-format off: the kernel's types come first
#include "vmlinux.h"
// clang-format on

#include "cluster/lab/datapath/ebpf_socket.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "cluster/lab/datapath/service_map.bpf.h"

#define ECONNREFUSED 111
#define ENOMEM 12

enum Verdict { reject = 0, proceed = 1 };

// Makes the choices of this load differ from those of the one before.
const volatile __u64 seed = 0;

enum MemoryFlags {
  sticky = 1,         // unconnected: later datagrams to the Service must go to the same backend
  spilled = 2,        // more of this socket is in the LRU maps below
  one_connect = 256,  // above these bits, connects of this socket are counted
};

// What one socket dialled.
struct Memory {
  __u64 cookie;  // 0: empty
  struct ServiceEndpoint service;
  struct ServiceEndpoint backend;
  __u32 generation;  // in which `backend` was known to be one of the Service's
  __u32 flags;
};

// The slot of a socket is that of its cookie. Cookies are given in sequence, so a slot is taken
// over only once as many newer sockets have dialled Services as there are slots. Whoever writes a
// slot first puts `being_written` in place of the cookie it read, and if that is gone leaves the
// slot to whoever was faster; readers look at the cookie again after they have read.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __type(key, __u32);
  __type(value, struct Memory);
  __uint(max_entries, SOCKETS_REMEMBERED);
} memory SEC(".maps");

static const __u64 being_written = ~0ULL;

// What does not fit there: further Services of one unconnected socket, former backends, and sticky
// choices whose slot was taken over. (socket, Service) -> backend:
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __type(key, struct SocketPeer);
  __type(value, struct SocketFlow);
  __uint(max_entries, SOCKETS_REMEMBERED);
} flows SEC(".maps");

// (socket, backend) -> the Service that was dialled.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __type(key, struct SocketPeer);
  __type(value, struct ServiceEndpoint);
  __uint(max_entries, SOCKETS_REMEMBERED);
} dialled SEC(".maps");

static __always_inline int refuse(int code) {
  bpf_set_retval(-code);
  return reject;
}

static __noinline int spill(const struct Memory *what) {
  if (!what) return -1;
  struct SocketPeer flow_key = {.cookie = what->cookie, .peer = what->service};
  struct SocketFlow flow = {.backend = what->backend, .generation = what->generation};
  struct SocketPeer dialled_key = {.cookie = what->cookie, .peer = what->backend};
  if (what->flags & sticky && bpf_map_update_elem(&flows, &flow_key, &flow, BPF_ANY) != 0)
    return -1;
  return bpf_map_update_elem(&dialled, &dialled_key, &what->service, BPF_ANY) != 0 ? -1 : 0;
}

static __always_inline struct Memory *slot_of(__u64 cookie) {
  __u32 index = (__u32)cookie % SOCKETS_REMEMBERED;
  return bpf_map_lookup_elem(&memory, &index);
}

// Whether the slot is this socket's; then `out` is what it holds, read as one.
static __always_inline int recall(struct Memory *slot, __u64 cookie, struct Memory *out) {
  if (*(volatile __u64 *)&slot->cookie != cookie) return 0;
  *out = *slot;
  return __sync_fetch_and_or(&slot->cookie, 0) == cookie;
}

// Puts `now` into the slot, or into the LRU maps when another writer is at the slot. What the slot
// held before is spilled where it is still of use. Negative when there is no memory for it.
static __always_inline int remember(struct Memory *slot, const struct Memory *now) {
  __u64 cookie = *(volatile __u64 *)&slot->cookie;
  if (cookie == being_written ||
      __sync_val_compare_and_swap(&slot->cookie, cookie, being_written) != cookie) {
    return spill(now);
  }
  const int mine = cookie == now->cookie;
  __u32 flags = now->flags | (mine ? slot->flags & spilled : 0);
  int failed = 0;
  // A sticky choice of another socket is kept, and of one's own the former backend, whose replies
  // may still come.
  if ((slot->flags | (mine ? now->flags : 0)) & sticky &&
      !(mine && same(&slot->backend, &now->backend))) {
    struct Memory before = *slot;
    before.cookie = cookie;
    if (cookie != 0) failed = spill(&before);
    if (mine) flags |= spilled;
  }
  slot->service = now->service;
  slot->backend = now->backend;
  slot->generation = now->generation;
  slot->flags = flags;
  __sync_lock_test_and_set(&slot->cookie, now->cookie);
  return failed;
}

// One of the Service's backends at random: the SplitMix64 generator (Steele, Lea, Flood 2014) with
// the cookie, of which no two sockets have the same, as its counter; `again` tells later choices of
// one socket from its first.
static __always_inline int pick(struct bpf_sock_addr *ctx, void *table,
                                const struct ServiceMapEntry *service, __u64 cookie, __u32 again,
                                struct ServiceEndpoint *backend) {
  __u64 random = seed + cookie * 0x9e3779b97f4a7c15ULL + again * 0xd1342543de82ef95ULL;
  random = (random ^ (random >> 30)) * 0xbf58476d1ce4e5b9ULL;
  random = (random ^ (random >> 27)) * 0x94d049bb133111ebULL;
  random ^= random >> 31;
  struct ServiceMapEntry *drawn = draw_backend(table, service, (__u32)(random >> 32));
  if (!drawn) return 0;
  // A client is a network namespace, as a pod's address is one's (cilium, bpf/bpf_sock.c: there,
  // too, the cookie of the namespace stands for the client).
  struct ServiceClient client = {};
  if (drawn->count != 0) client.client[0] = bpf_get_netns_cookie(ctx);
  *backend = stay(&client, table, service, drawn)->endpoint;
  return 1;
}

// Points `peer` at a backend, if it is a Service, for one connection.
static __always_inline int translate_connect(struct bpf_sock_addr *ctx,
                                             struct ServiceEndpoint *peer, int *translated) {
  struct Memory now = {.generation = generation, .service = *peer};
  now.cookie = bpf_get_socket_cookie(ctx);
  struct Memory *slot = slot_of(now.cookie);
  if (!slot) return refuse(ENOMEM);
  // Read long before they are needed: a slot not used lately is in no near cache, and the wait for
  // it passes while the table is searched.
  const __u64 cookie = *(volatile __u64 *)&slot->cookie;
  const __u32 flags = *(volatile __u32 *)&slot->flags;

  void *table = current_table(services_inside);
  if (!table) return proceed;
  struct ServiceMapEntry *service = find(table, peer);
  if (!service) return proceed;
  if (service->count == 0) return refuse(ECONNREFUSED);
  if (cookie == now.cookie) now.flags = (flags & -one_connect) + one_connect;
  if (!pick(ctx, table, service, now.cookie, now.flags, &now.backend)) return refuse(ECONNREFUSED);
  if (remember(slot, &now) != 0) return refuse(ENOMEM);
  *peer = now.backend;
  *translated = 1;
  return proceed;
}

// Points `peer` at a backend, if it is a Service, for one datagram of an unconnected socket: the
// backend of the datagrams before it, for as long as the Service has that one.
static __always_inline int translate_datagram(struct bpf_sock_addr *ctx,
                                              struct ServiceEndpoint *peer, int *translated) {
  // Read before the table: a choice may be thought older than it is, never newer.
  struct Memory now = {.generation = generation, .service = *peer, .flags = sticky};
  now.cookie = bpf_get_socket_cookie(ctx);
  struct Memory *slot = slot_of(now.cookie);
  if (!slot) return refuse(ENOMEM);
  struct Memory before;
  const int mine = recall(slot, now.cookie, &before);
  const int remembered = mine && before.flags & sticky && same(&before.service, peer);
  if (remembered && before.generation == now.generation) {
    *peer = before.backend;
    *translated = 1;
    return proceed;
  }

  void *table = current_table(services_inside);
  if (!table) return proceed;
  struct ServiceMapEntry *service = find(table, peer);
  if (!service) return proceed;
  if (service->count == 0) return refuse(ECONNREFUSED);
  struct SocketFlow *flow = 0;
  if (!remembered && (!mine || before.flags & spilled)) {
    struct SocketPeer flow_key = {.cookie = now.cookie, .peer = *peer};
    flow = bpf_map_lookup_elem(&flows, &flow_key);
  }
  int current = 0;
  if (flow) {
    now.backend = flow->backend;
    current = flow->generation == now.generation;
  } else if (remembered) {
    now.backend = before.backend;
  }
  if (!current && !((flow || remembered) && find_backend(table, service, &now.backend)) &&
      !pick(ctx, table, service, now.cookie, now.generation, &now.backend)) {
    return refuse(ECONNREFUSED);
  }

  if (!flow && (remembered || !mine)) {
    if (remember(slot, &now) != 0) return refuse(ENOMEM);
  } else {
    // The slot holds another Service of this socket, or another socket took it: they keep it, and
    // this choice lives in the LRU maps.
    struct SocketPeer dialled_key = {.cookie = now.cookie, .peer = now.backend};
    struct ServiceEndpoint *known = bpf_map_lookup_elem(&dialled, &dialled_key);
    if (!(current && known && same(known, peer)) && spill(&now) != 0) return refuse(ENOMEM);
    if (mine && !(before.flags & spilled)) {
      before.flags |= spilled;
      if (remember(slot, &before) != 0) return refuse(ENOMEM);
    }
  }
  *peer = now.backend;
  *translated = 1;
  return proceed;
}

// Turns a backend's address back into the Service this socket dialled; 0 when it dialled none.
static __always_inline int reverse(struct bpf_sock_addr *ctx, struct ServiceEndpoint *peer) {
  __u64 cookie = bpf_get_socket_cookie(ctx);
  struct Memory *slot = slot_of(cookie);
  if (!slot) return 0;
  struct Memory before;
  const int mine = recall(slot, cookie, &before);
  if (mine && same(&before.backend, peer)) {
    *peer = before.service;
    return 1;
  }
  if (mine && !(before.flags & spilled)) return 0;
  struct SocketPeer key = {.cookie = cookie, .peer = *peer};
  struct ServiceEndpoint *service = bpf_map_lookup_elem(&dialled, &key);
  if (!service) return 0;
  *peer = *service;
  return 1;
}

static __always_inline struct ServiceEndpoint read_peer4(struct bpf_sock_addr *ctx) {
  struct ServiceEndpoint peer = {.port = (__u16)ctx->user_port, .protocol = (__u8)ctx->protocol};
  __u32 address = ctx->user_ip4;
  peer.address[10] = 0xff;
  peer.address[11] = 0xff;
  __builtin_memcpy(peer.address + 12, &address, 4);
  return peer;
}

static __always_inline void write_peer4(struct bpf_sock_addr *ctx,
                                        const struct ServiceEndpoint *peer) {
  __u32 address;
  __builtin_memcpy(&address, peer->address + 12, 4);
  ctx->user_ip4 = address;
  ctx->user_port = peer->port;
}

static __always_inline struct ServiceEndpoint read_peer6(struct bpf_sock_addr *ctx) {
  struct ServiceEndpoint peer = {.port = (__u16)ctx->user_port, .protocol = (__u8)ctx->protocol};
  __u32 words[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};
  __builtin_memcpy(peer.address, words, 16);
  return peer;
}

static __always_inline void write_peer6(struct bpf_sock_addr *ctx,
                                        const struct ServiceEndpoint *peer) {
  __u32 words[4];
  __builtin_memcpy(words, peer->address, 16);
  ctx->user_ip6[0] = words[0];
  ctx->user_ip6[1] = words[1];
  ctx->user_ip6[2] = words[2];
  ctx->user_ip6[3] = words[3];
  ctx->user_port = peer->port;
}

#define FORWARD_HOOK(name, family, translate)             \
  SEC("cgroup/" #name #family)                            \
  int name##family(struct bpf_sock_addr *ctx) {           \
    struct ServiceEndpoint peer = read_peer##family(ctx); \
    int translated = 0;                                   \
    int verdict = translate(ctx, &peer, &translated);     \
    if (translated) write_peer##family(ctx, &peer);       \
    return verdict;                                       \
  }

#define REVERSE_HOOK(name, family)                           \
  SEC("cgroup/" #name #family)                               \
  int name##family(struct bpf_sock_addr *ctx) {              \
    struct ServiceEndpoint peer = read_peer##family(ctx);    \
    if (reverse(ctx, &peer)) write_peer##family(ctx, &peer); \
    return proceed;                                          \
  }

FORWARD_HOOK(connect, 4, translate_connect)
FORWARD_HOOK(connect, 6, translate_connect)
FORWARD_HOOK(sendmsg, 4, translate_datagram)
FORWARD_HOOK(sendmsg, 6, translate_datagram)
REVERSE_HOOK(recvmsg, 4)
REVERSE_HOOK(recvmsg, 6)
REVERSE_HOOK(getpeername, 4)
REVERSE_HOOK(getpeername, 6)

char LICENSE[] SEC("license") = "GPL";
