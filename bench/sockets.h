// The socket calls both ends share, off the hot path. Failures of traffic are errno values here,
// because they are counted by class, not reported.
#pragma once

#include <cstdint>
#include <expected>

#include <netinet/in.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// A connection, or the errno that stands for why there is none.
using Connected = std::expected<base::UniqueFd, int>;

// A stream socket for the server's family, TCP_NODELAY set. `flags`: SOCK_NONBLOCK or 0.
[[nodiscard]] Connected tcp_socket(const base::Endpoint& server, int flags);

// A datagram socket connected to the server: only its datagrams are received, and ICMP about ours
// is an error of recv(2) or send(2). Nothing is sent. `flags`: SOCK_NONBLOCK or 0.
[[nodiscard]] Connected udp_socket(const base::SocketAddress& server, int flags);

// Connects within `timeout`; the socket returned is blocking, TCP_NODELAY set. Fails with the errno
// of connect(2), ETIMEDOUT, or EINTR when `stop_fd` became readable.
[[nodiscard]] Connected connect_within(const base::Endpoint& server, base::Duration timeout,
                                       int stop_fd);

// Waits until a connect(2) that said EINPROGRESS is over: 0 when established, otherwise as
// connect_within.
[[nodiscard]] int finish_connect(int fd, base::MonotonicTime deadline, int stop_fd);

// The pending error of a socket (SO_ERROR), 0 when there is none.
[[nodiscard]] int pending_error(int fd);

// Makes recv(2) and send(2) on a blocking socket return EAGAIN after this long. 0 or errno.
int bound_waits(int fd, base::Duration longest);

// A listening socket at that endpoint with SO_REUSEADDR and TCP_NODELAY, which its connections
// inherit; an IPv6 one takes IPv6 only, so that [::]:port and 0.0.0.0:port can stand side by side.
// Errors: system (address in use...), not_permitted.
[[nodiscard]] base::Result<base::UniqueFd> listen_tcp(const base::Endpoint& endpoint);

// A datagram socket bound to that endpoint; an IPv6 one takes IPv6 only. Errors: as listen_tcp.
[[nodiscard]] base::Result<base::UniqueFd> bind_udp(const base::Endpoint& endpoint);

// The local end of a socket; nothing when the kernel refuses.
[[nodiscard]] base::Result<base::Endpoint> local_endpoint(int fd);

// Segments this connection sent again, its SYN included (tcpi_total_retrans); 0 for a dead socket.
[[nodiscard]] std::uint64_t retransmits(int fd);

// Bytes of this connection that the other side's kernel has acknowledged (tcpi_bytes_acked), one
// for its SYN; 0 for a socket the kernel refuses to tell of.
[[nodiscard]] std::uint64_t acknowledged_bytes(int fd);

// Leaves it to the kernel when a segment is full enough to send (TCP_NODELAY off), as whoever
// moves bytes in bulk does. 0 or errno.
int gather_writes(int fd);

// Gives a datagram socket room for bursts while its reader is away: as much as asked for with
// CAP_NET_ADMIN (SO_RCVBUFFORCE), else as net.core.rmem_max allows.
void enlarge_receive_buffer(int fd);

// Datagrams this socket dropped on arrival, nearly always for want of room (SO_MEMINFO's
// SK_MEMINFO_DROPS); 0 when the kernel refuses.
[[nodiscard]] std::uint64_t dropped_at(int fd);

// Connections a listener holds that were not accepted yet (what tcpi_unacked says of one, see
// tcp_get_info() in net/ipv4/tcp.c); 0 when the kernel refuses.
[[nodiscard]] unsigned accept_queue(int listener);

// Allows this process as many descriptors as its hard limit says: the usual soft limit of 1,024 is
// fewer than the connections a workload may ask for. Where it cannot, connections beyond the limit
// fail and are counted.
void raise_descriptor_limit();

// Whether a descriptor can be read now; false for -1.
[[nodiscard]] bool readable(int fd);

// The class of a failed connect(2), and of a failed send(2) or recv(2) on an established
// connection, by errno.
[[nodiscard]] FailureClass connect_failure(int code);
[[nodiscard]] FailureClass exchange_failure(int code);
// Counts a failed connect(2) under the class of its errno.
void count_connect_error(int code, TrafficErrors& errors);
// Counts a failed send(2) or recv(2) on an established connection.
void count_exchange_error(int code, TrafficErrors& errors);

}  // namespace bench
