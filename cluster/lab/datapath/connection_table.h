// A node's connections that are translated: a bounded table that ages and counts. It belongs to no
// datapath; whoever keeps connections per packet includes connection_table.bpf.h into its programs.
//
// Each connection has a slot of one array, and two keys of one hash map lead to it: the packet as
// the client sends it, and the packet as the backend answers it. What each is rewritten to follows
// from the other, so that nothing else need be kept.
//
// An LRU hash map would be less work and evicts in silence, in batches and long before it is full
// (kernel/bpf/bpf_lru_list.c); here every connection that goes is counted by why it went. Slots are
// searched round by round from a common hand. A slot is taken that is empty or whose connection is
// over; where SLOTS_SEARCHED in a row hold live ones, the one of them that was used longest ago is
// evicted.
//
// Programs on several CPUs share the table without a lock. A slot's `version` is odd while somebody
// writes it; to write, one replaces the even number one read by the odd one after it
// (compare-and-swap), and gives up where that fails. Readers copy what they need and look at
// `version` again afterwards, so a copy is never half of one connection and half of another. Only
// who holds a slot removes its two keys, and keys are only ever inserted where none was, so a key
// never leads to a slot that has another connection for longer than a reader's check notices. What
// is stored without holding the slot are the bits of `state`, set atomically, and `used_ns`: where
// the slot was taken over in those few nanoseconds its next connection ages wrongly at worst.
//
// Addresses are in IPv6 form, ports in network order, as in service_map.h.
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#endif

// A packet's ends.
struct ConnectionTuple {
  __u8 source[16];
  __u8 destination[16];
  __u16 source_port;
  __u16 destination_port;
  __u8 protocol;
  __u8 reserved[3];  // zero
} __attribute__((aligned(8)));

enum ConnectionState {
  connection_held = 1,  // 0 is an empty slot
  connection_answered = 2,
  connection_client_finished = 4,
  connection_backend_finished = 8,
  connection_reset = 16,
};

struct Connection {
  __u32 version;
  __u32 state;
  __u64 used_ns;                   // CLOCK_MONOTONIC_COARSE of its last packet
  struct ConnectionTuple forward;  // client to frontend
  struct ConnectionTuple reply;    // backend to whom it takes for the client
  __u32 generation;                // of the Services in which the backend was known as one's
  __u32 flags;                     // the user's own
};

// Where a key leads.
struct ConnectionPlace {
  __u32 slot;
  __u32 is_reply;
};

// Exact: each CPU has its own.
struct ConnectionCounters {
  __u64 made;
  __u64 aged;     // reclaimed when over: closed, reset, or unused for too long
  __u64 evicted;  // thrown out alive, because the table was full
  __u64
      moved;  // ended because its backend left the Service, or its client turned to the pod itself
  __u64 misses;     // packets in mid-stream whose connection is not in the table
  __u64 unplaced;   // packets dropped because no slot or no source port was to be had
  __u64 fragments;  // not translated
  __u64 refused;    // answered with an ICMP error, for want of backends
};

#define SLOTS_SEARCHED 1024

#ifdef __cplusplus

#include <chrono>
#include <cstdint>

#include "base/json.h"
#include "base/result.h"

namespace cluster {

// A connection unused for so long is over. TCP's are those of Linux' own tracking, but for
// established ones (there 5 days; here TCP's keepalive, 2 h) and closed ones (there 2 min; here 10
// s, as Cilium, because its place is given away as soon as it is needed anyway).
struct ConnectionTableSettings {
  std::uint32_t connections = 65'536;
  std::chrono::nanoseconds opening = std::chrono::seconds(60);  // TCP, not answered
  std::chrono::nanoseconds established = std::chrono::hours(2);
  std::chrono::nanoseconds closing = std::chrono::seconds(60);  // TCP, one side finished
  std::chrono::nanoseconds closed = std::chrono::seconds(10);
  std::chrono::nanoseconds datagrams = std::chrono::seconds(30);  // UDP, not answered
  std::chrono::nanoseconds datagrams_answered = std::chrono::seconds(120);
  // Source ports given to connections that are sent on in the node's name. The node's own sockets
  // must not have them.
  std::uint16_t first_port = 32'768;
  std::uint16_t ports = 32'768;
};

// What the table at these maps counted, as facts(): {"capacity": ..., "made": ..., "evicted": ...}.
// Errors: system.
[[nodiscard]] base::Result<ConnectionCounters> read_connection_counters(int counters);
void add(ConnectionCounters& sum, const ConnectionCounters& counters);
[[nodiscard]] base::Json to_facts(const ConnectionCounters& counters);

// The bytes of a table of so many connections: its slots and its keys.
[[nodiscard]] std::int64_t connection_table_bytes(std::uint32_t connections);

// Sets the constants of a skeleton that includes connection_table.bpf.h, between open and load.
template <typename Rodata>
void set_connection_table(const ConnectionTableSettings& settings, Rodata& rodata) {
  const auto ns = [](std::chrono::nanoseconds time) { return static_cast<__u64>(time.count()); };
  rodata.connections_at_most = settings.connections;
  rodata.opening_ns = ns(settings.opening);
  rodata.established_ns = ns(settings.established);
  rodata.closing_ns = ns(settings.closing);
  rodata.closed_ns = ns(settings.closed);
  rodata.datagrams_ns = ns(settings.datagrams);
  rodata.datagrams_answered_ns = ns(settings.datagrams_answered);
  rodata.first_source_port = settings.first_port;
  rodata.source_ports = settings.ports;
}

}  // namespace cluster

#endif  // __cplusplus
