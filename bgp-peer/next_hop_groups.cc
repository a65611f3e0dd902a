#include "bgp-peer/next_hop_groups.h"

#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include "base/freed.h"
#include "bgp-peer/fib.h"

namespace bgp_peer {
namespace {

using base::Freed;

using Message = std::unique_ptr<nl_msg, Freed<nlmsg_free>>;
using Address = std::unique_ptr<nl_addr, Freed<nl_addr_put>>;
using Route = std::unique_ptr<rtnl_route, Freed<rtnl_route_put>>;

// clock_t ticks a second, in which the kernel takes timers (USER_HZ).
constexpr std::uint32_t ticks_a_second = 100;

int size_of(const base::IpAddress& address) {
  return address.family == base::AddressFamily::ipv4 ? 4 : 16;
}

// A request that begins with `header`; empty when there is no memory.
template <typename Header>
Message request(int type, int flags, Header header) {
  Message message(nlmsg_alloc_simple(type, flags));
  if (message && nlmsg_append(message.get(), &header, sizeof(header), NLMSG_ALIGNTO) < 0) {
    message.reset();
  }
  return message;
}

template <typename Value>
void put(const Message& message, int attribute, const Value& value) {
  nla_put(message.get(), attribute, sizeof(value), &value);
}

void put(const Message& message, int attribute, const base::IpAddress& address) {
  nla_put(message.get(), attribute, size_of(address), address.bytes.data());
}

int send(nl_sock* socket, Message message) {
  if (!message) return -NLE_NOMEM;
  return nl_send_sync(socket, message.release());  // which frees it
}

// The interface by which an address is reached; 0: none.
int interface_to(nl_sock* socket, const base::IpAddress& address) {
  const Address wanted(nl_addr_build(address.af(), address.bytes.data(),
                                     static_cast<std::size_t>(size_of(address))));
  rtnl_route* found = nullptr;
  if (!wanted || rtnl_route_lookup(socket, wanted.get(), &found) < 0) return 0;
  const Route route(found);
  auto* hop = rtnl_route_nexthop_n(route.get(), 0);
  return hop == nullptr ? 0 : rtnl_route_nh_get_ifindex(hop);
}

// Objects of ours in a dump, groups before their members.
struct Found {
  std::vector<std::uint32_t> groups = {};
  std::vector<std::uint32_t> members = {};

  static int take(nl_msg* message, void* argument) {
    auto& found = *static_cast<Found*>(argument);
    auto* header = nlmsg_hdr(message);
    if (header->nlmsg_type != RTM_NEWNEXTHOP) return NL_OK;
    const auto* fields = static_cast<const nhmsg*>(nlmsg_data(header));
    auto* id = nlmsg_find_attr(header, sizeof(nhmsg), NHA_ID);
    if (fields->nh_protocol != route_protocol || id == nullptr) return NL_OK;
    const bool is_group = nlmsg_find_attr(header, sizeof(nhmsg), NHA_GROUP) != nullptr;
    (is_group ? found.groups : found.members).push_back(nla_get_u32(id));
    return NL_OK;
  }
};

}  // namespace

int NextHopGroups::make_member(const base::IpAddress& address, std::uint32_t id) {
  const int interface = interface_to(socket_, address);
  if (interface == 0) return -NLE_INVAL;
  auto message = request(RTM_NEWNEXTHOP, NLM_F_CREATE | NLM_F_REPLACE,
                         nhmsg{.nh_family = static_cast<unsigned char>(address.af()),
                               .nh_scope = 0,
                               .nh_protocol = route_protocol,
                               .resvd = 0,
                               .nh_flags = 0});
  if (!message) return -NLE_NOMEM;
  put(message, NHA_ID, id);
  put(message, NHA_OIF, interface);
  put(message, NHA_GATEWAY, address);
  return send(socket_, std::move(message));
}

int NextHopGroups::make_group(std::uint32_t id, const std::vector<base::IpAddress>& next_hops) {
  auto message = request(RTM_NEWNEXTHOP, NLM_F_CREATE | NLM_F_REPLACE,
                         nhmsg{.nh_family = AF_UNSPEC,
                               .nh_scope = 0,
                               .nh_protocol = route_protocol,
                               .resvd = 0,
                               .nh_flags = 0});
  if (!message) return -NLE_NOMEM;
  std::vector<nexthop_grp> entries;
  for (const auto& address : next_hops) {
    nexthop_grp entry{};
    entry.id = members_[address].id;
    entries.push_back(entry);
  }
  put(message, NHA_ID, id);
  put(message, NHA_GROUP_TYPE, static_cast<std::uint16_t>(NEXTHOP_GRP_TYPE_RES));
  nla_put(message.get(), NHA_GROUP, static_cast<int>(entries.size() * sizeof(nexthop_grp)),
          entries.data());
  auto* nest = nla_nest_start(message.get(), NHA_RES_GROUP | NLA_F_NESTED);
  if (nest == nullptr) return -NLE_NOMEM;
  put(message, NHA_RES_GROUP_BUCKETS, static_cast<std::uint16_t>(resilient_buckets));
  put(message, NHA_RES_GROUP_IDLE_TIMER,
      static_cast<std::uint32_t>(resilient_idle / std::chrono::seconds(1)) * ticks_a_second);
  // Never out of a bucket that is in use.
  put(message, NHA_RES_GROUP_UNBALANCED_TIMER, std::uint32_t{0});
  nla_nest_end(message.get(), nest);
  return send(socket_, std::move(message));
}

int NextHopGroups::make_members(const std::vector<base::IpAddress>& next_hops, bool anew) {
  for (const auto& address : next_hops) {
    auto& member = members_[address];
    if (member.made && !anew) continue;
    if (member.id == 0) member.id = ++last_id_;
    if (const int code = make_member(address, member.id); code < 0) return code;
    member.made = true;
  }
  return 0;
}

int NextHopGroups::make_route(const Prefix& prefix, std::uint32_t id) {
  auto message = request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE,
                         rtmsg{.rtm_family = static_cast<unsigned char>(prefix.address.af()),
                               .rtm_dst_len = static_cast<unsigned char>(prefix.length),
                               .rtm_src_len = 0,
                               .rtm_tos = 0,
                               .rtm_table = RT_TABLE_MAIN,
                               .rtm_protocol = route_protocol,
                               .rtm_scope = RT_SCOPE_UNIVERSE,
                               .rtm_type = RTN_UNICAST,
                               .rtm_flags = 0});
  if (!message) return -NLE_NOMEM;
  put(message, RTA_DST, prefix.address);
  put(message, RTA_PRIORITY, route_metric);
  put(message, RTA_NH_ID, id);
  return send(socket_, std::move(message));
}

int NextHopGroups::remove_object(std::uint32_t id) {
  auto message = request(RTM_DELNEXTHOP, 0, nhmsg{});
  if (!message) return -NLE_NOMEM;
  put(message, NHA_ID, id);
  return send(socket_, std::move(message));
}

int NextHopGroups::set(const Prefix& prefix, const std::vector<base::IpAddress>& next_hops,
                       bool has_route) {
  if (const int code = make_members(next_hops, false); code < 0) return code;
  const auto [group, fresh] = groups_.try_emplace(prefix, last_id_ + 1);
  if (fresh) ++last_id_;
  int code = make_group(group->second, next_hops);
  if (code == -NLE_INVAL || code == -NLE_OBJ_NOTFOUND) {
    // The kernel dropped members with their link, and nobody told.
    code = make_members(next_hops, true);
    if (code >= 0) code = make_group(group->second, next_hops);
  }
  if (code >= 0 && !has_route) code = make_route(prefix, group->second);
  return code;
}

void NextHopGroups::remove(const Prefix& prefix) {
  const auto group = groups_.find(prefix);
  if (group == groups_.end()) return;
  // It may have gone with its links.
  (void)remove_object(group->second);
  groups_.erase(group);
}

int NextHopGroups::clear() {
  Found found;
  const std::unique_ptr<nl_cb, Freed<nl_cb_put>> callbacks(nl_cb_alloc(NL_CB_DEFAULT));
  if (!callbacks) return -NLE_NOMEM;
  nl_cb_set(callbacks.get(), NL_CB_VALID, NL_CB_CUSTOM, &Found::take, &found);
  nhmsg all{};
  int code = nl_send_simple(socket_, RTM_GETNEXTHOP, NLM_F_DUMP, &all, sizeof(all));
  if (code >= 0) code = nl_recvmsgs(socket_, callbacks.get());
  if (code < 0) return code;
  for (const auto& ids : {found.groups, found.members}) {
    for (const auto id : ids) {
      code = remove_object(id);
      if (code < 0 && code != -NLE_OBJ_NOTFOUND) return code;
    }
  }
  groups_.clear();
  members_.clear();
  return 0;
}

}  // namespace bgp_peer
