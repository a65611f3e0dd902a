// Nexthop objects (`ip nexthop`) of one network namespace: resilient groups, one for each prefix
// that is reached through them. Nobody but fib.cc uses it.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include <netlink/netlink.h>

#include "base/result.h"
#include "bgp-peer/route.h"

namespace bgp_peer {

// Sends over a socket of that namespace, which outlives it. One thread at a time.
class NextHopGroups {
 public:
  explicit NextHopGroups(nl_sock* socket) : socket_(socket) {}

  // Makes the prefix's group hold these next hops, at least one, and, where the kernel does not
  // have its route (`has_route`), makes that. Errors: libnl's code, below 0: -NLE_INVAL also where
  // a next hop is on no link.
  int set(const Prefix& prefix, const std::vector<base::IpAddress>& next_hops, bool has_route);
  // Removes the group of a prefix whose route is gone.
  void remove(const Prefix& prefix);
  // Removes every object that is marked with our protocol number, whoever made it. Errors: libnl's
  // code, below 0: -NLE_OPNOTSUPP where the kernel knows no such objects.
  int clear();

 private:
  int make_member(const base::IpAddress& address, std::uint32_t id);
  int make_group(std::uint32_t id, const std::vector<base::IpAddress>& next_hops);
  int make_members(const std::vector<base::IpAddress>& next_hops, bool anew);
  int remove_object(std::uint32_t id);
  int make_route(const Prefix& prefix, std::uint32_t id);

  struct Member {
    std::uint32_t id = 0;
    bool made = false;  // as far as we know: the kernel drops them with their link
  };

  nl_sock* socket_;
  std::uint32_t last_id_ = 20'186'000;  // far from what people give by hand
  std::map<base::IpAddress, Member> members_ = {};
  std::map<Prefix, std::uint32_t> groups_ = {};
};

}  // namespace bgp_peer
