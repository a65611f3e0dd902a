// What an errno of a socket that knocked stands for.
#pragma once

#include <cerrno>

#include "bench/reach/reach.h"

namespace bench {

// Of an errno that no reply explains. connect(2), udp(7) and icmp(7): what the kernel makes of ICMP
// is in icmp_err_convert (net/ipv4/icmp.c) and icmpv6_err_convert (net/ipv6/icmp.c).
[[nodiscard]] constexpr ReachOutcome outcome_of(int code) {
  switch (code) {
    case ECONNREFUSED:
      return ReachOutcome::refused;
    case ETIMEDOUT:
      return ReachOutcome::timed_out;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case ENONET:
    case ENOPROTOOPT:  // ICMP protocol unreachable
    case EPROTO:       // ICMPv6 parameter problem
    case EACCES:       // ICMPv6 administratively prohibited, rejected route; IPv4 prohibit route
    case EPERM:        // a rule of our own network namespace, or a cgroup's program
      return ReachOutcome::unreachable;
    default:
      return ReachOutcome::failed;
  }
}

}  // namespace bench
