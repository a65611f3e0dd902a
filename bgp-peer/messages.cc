#include "bgp-peer/messages.h"

#include <utility>

namespace bgp_peer {
namespace {

using base::ErrorKind;
using base::Result;

constexpr std::uint32_t restart_flag = 0x8;      // RFC 4724, 3: of four bits
constexpr std::uint32_t forwarding_flag = 0x80;  // of eight

// Nothing where GoBGP has no address: it then says "" or, by Go's fmt, "<nil>". Without its zone.
std::optional<base::IpAddress> address_of(std::string_view text) {
  const auto address = base::IpAddress::parse(text.substr(0, text.find('%')));
  return address ? std::optional(*address) : std::nullopt;
}

std::optional<Family> family_of(const apipb::Family& family) {
  if (family.safi() != apipb::Family::SAFI_UNICAST) return std::nullopt;
  if (family.afi() == apipb::Family::AFI_IP) return Family::ipv4_unicast;
  if (family.afi() == apipb::Family::AFI_IP6) return Family::ipv6_unicast;
  return std::nullopt;
}

std::unexpected<base::Error> unreadable(const google::protobuf::Any& any) {
  return base::fail(ErrorKind::input, "gobgpd sent a {} that cannot be read", any.type_url());
}

// Reads what is held into `message` when it is of that kind; whether it was.
template <typename Message>
Result<bool> take(const google::protobuf::Any& any, Message& message) {
  if (!any.Is<Message>()) return false;
  if (!any.UnpackTo(&message)) return unreadable(any);
  return true;
}

// Whether a path is of one of our families, by what it says or, where that is nothing, by its kind.
bool is_unicast(const apipb::Path& message) {
  if (message.has_family()) return family_of(message.family()).has_value();
  return message.nlri().Is<apipb::IPAddressPrefix>();
}

Result<Prefix> prefix_of(const google::protobuf::Any& any) {
  apipb::IPAddressPrefix message;
  ASSIGN_OR_RETURN(const bool known, take(any, message));
  if (!known) return unreadable(any);
  ASSIGN_OR_RETURN(const auto address, base::IpAddress::parse(message.prefix()));
  if (std::cmp_greater(message.prefix_len(), address.host_prefix())) return unreadable(any);
  return Prefix{address, static_cast<int>(message.prefix_len())};
}

AsSegment from_message(const apipb::AsSegment& message) {
  AsSegment segment{.is_set = message.type() == apipb::AsSegment::AS_SET ||
                              message.type() == apipb::AsSegment::AS_CONFED_SET};
  for (const auto number : message.numbers()) segment.numbers.push_back({number});
  return segment;
}

// One attribute of a path; those of other kinds are not ours to judge.
Result<> take_attribute(const google::protobuf::Any& any, Path& path) {
  const auto next_hop = [&path, &any](const std::string& text) -> Result<> {
    const auto address = address_of(text);
    if (!address) return unreadable(any);
    path.next_hop = *address;
    return {};
  };
  apipb::OriginAttribute origin;
  apipb::AsPathAttribute as_path;
  apipb::NextHopAttribute hop;
  apipb::MpReachNLRIAttribute reach;
  apipb::MultiExitDiscAttribute med;
  apipb::LocalPrefAttribute preference;
  apipb::CommunitiesAttribute communities;
  ASSIGN_OR_RETURN(bool known, take(any, origin));
  if (known) {
    path.origin = static_cast<Origin>(std::min(origin.origin(), 2U));
    return {};
  }
  ASSIGN_OR_RETURN(known, take(any, as_path));
  if (known) {
    for (const auto& segment : as_path.segments()) path.as_path.push_back(from_message(segment));
    return {};
  }
  ASSIGN_OR_RETURN(known, take(any, hop));
  if (known) return next_hop(hop.next_hop());
  ASSIGN_OR_RETURN(known, take(any, reach));
  // The global address comes first, before a link-local one (RFC 2545, 3).
  if (known) return reach.next_hops().empty() ? Result<>() : next_hop(reach.next_hops(0));
  ASSIGN_OR_RETURN(known, take(any, med));
  if (known) {
    path.med = med.med();
    return {};
  }
  ASSIGN_OR_RETURN(known, take(any, preference));
  if (known) {
    path.local_preference = preference.local_pref();
    return {};
  }
  ASSIGN_OR_RETURN(known, take(any, communities));
  if (known) {
    for (const auto value : communities.communities()) path.communities.push_back({value});
  }
  return {};
}

template <typename Message>
void add_attribute(apipb::Path& path, const Message& attribute) {
  path.add_pattrs()->PackFrom(attribute);
}

Capabilities capabilities_of(
    const google::protobuf::RepeatedPtrField<google::protobuf::Any>& messages) {
  Capabilities result;
  for (const auto& any : messages) {
    apipb::MultiProtocolCapability families;
    apipb::FourOctetASNCapability asn;
    apipb::GracefulRestartCapability restart;
    if (any.UnpackTo(&families) && family_of(families.family())) {
      result.families.push_back(*family_of(families.family()));
    } else if (any.Is<apipb::RouteRefreshCapability>()) {
      result.route_refresh = true;
    } else if (any.UnpackTo(&asn)) {
      result.four_octet_asn = Asn{asn.asn()};
    } else if (any.UnpackTo(&restart)) {
      auto& told = result.graceful_restart.emplace();
      told.restarting = (restart.flags() & restart_flag) != 0;
      told.restart_time_s = restart.time();
      for (const auto& tuple : restart.tuples()) {
        const auto family = family_of(tuple.family());
        if (!family) continue;
        told.families.push_back(*family);
        if ((tuple.flags() & forwarding_flag) != 0) told.forwarding.push_back(*family);
      }
    } else {
      ++result.others;
    }
  }
  return result;
}

MessageCounts counts_of(const apipb::Message& message) {
  return {.total = message.total(),
          .updates = message.update(),
          .keepalives = message.keepalive(),
          .notifications = message.notification()};
}

SessionState state_of(apipb::PeerState::SessionState state) {
  switch (state) {
    case apipb::PeerState::IDLE:
      return SessionState::idle;
    case apipb::PeerState::CONNECT:
      return SessionState::connect;
    case apipb::PeerState::ACTIVE:
      return SessionState::active;
    case apipb::PeerState::OPENSENT:
      return SessionState::open_sent;
    case apipb::PeerState::OPENCONFIRM:
      return SessionState::open_confirm;
    case apipb::PeerState::ESTABLISHED:
      return SessionState::established;
    default:
      return SessionState::unknown;
  }
}

AdminState state_of(apipb::PeerState::AdminState state) {
  if (state == apipb::PeerState::DOWN) return AdminState::down;
  return state == apipb::PeerState::PFX_CT ? AdminState::over_prefix_limit : AdminState::up;
}

}  // namespace

apipb::Family to_message(Family family) {
  apipb::Family message;
  message.set_afi(family == Family::ipv4_unicast ? apipb::Family::AFI_IP : apipb::Family::AFI_IP6);
  message.set_safi(apipb::Family::SAFI_UNICAST);
  return message;
}

Result<std::optional<Path>> from_message(const apipb::Path& message) {
  if (!is_unicast(message)) return std::nullopt;
  Path path;
  ASSIGN_OR_RETURN(path.prefix, prefix_of(message.nlri()));
  path.withdrawn = message.is_withdraw();
  path.best = message.best();
  path.stale = message.stale();
  path.next_hop_invalid = message.is_nexthop_invalid();
  path.neighbor = address_of(message.neighbor_ip());
  // A withdrawal carries what the path had, which is no news.
  if (path.withdrawn) return path;
  for (const auto& attribute : message.pattrs()) RETURN_IF_ERROR(take_attribute(attribute, path));
  return path;
}

apipb::Path to_message(const Path& path) {
  apipb::Path message;
  const auto family = to_message(family_of(path.prefix.address));
  *message.mutable_family() = family;
  message.set_is_withdraw(path.withdrawn);
  apipb::IPAddressPrefix prefix;
  prefix.set_prefix(path.prefix.address.to_string());
  prefix.set_prefix_len(static_cast<std::uint32_t>(path.prefix.length));
  message.mutable_nlri()->PackFrom(prefix);
  apipb::OriginAttribute origin;
  origin.set_origin(static_cast<std::uint32_t>(path.origin));
  add_attribute(message, origin);
  if (family.afi() == apipb::Family::AFI_IP && path.next_hop.family == base::AddressFamily::ipv4) {
    apipb::NextHopAttribute hop;
    hop.set_next_hop(path.next_hop.to_string());
    add_attribute(message, hop);
  } else {
    apipb::MpReachNLRIAttribute reach;
    *reach.mutable_family() = family;
    reach.add_next_hops(path.next_hop.to_string());
    reach.add_nlris()->PackFrom(prefix);
    add_attribute(message, reach);
  }
  if (!path.as_path.empty()) {
    apipb::AsPathAttribute as_path;
    for (const auto& segment : path.as_path) {
      auto* added = as_path.add_segments();
      added->set_type(segment.is_set ? apipb::AsSegment::AS_SET : apipb::AsSegment::AS_SEQUENCE);
      for (const auto& asn : segment.numbers) added->add_numbers(asn.number);
    }
    add_attribute(message, as_path);
  }
  if (path.med) {
    apipb::MultiExitDiscAttribute med;
    med.set_med(*path.med);
    add_attribute(message, med);
  }
  if (path.local_preference) {
    apipb::LocalPrefAttribute preference;
    preference.set_local_pref(*path.local_preference);
    add_attribute(message, preference);
  }
  if (!path.communities.empty()) {
    apipb::CommunitiesAttribute communities;
    for (const auto& community : path.communities) communities.add_communities(community.value);
    add_attribute(message, communities);
  }
  return message;
}

Result<Peer> from_message(const apipb::Peer& message) {
  const auto& state = message.state();
  Peer peer;
  // A dynamic neighbour has no address in its configuration.
  const auto& told = state.neighbor_address().empty() ? message.conf().neighbor_address()
                                                      : state.neighbor_address();
  const auto address = address_of(told);
  if (!address) {
    return base::fail(ErrorKind::input, "gobgpd named a neighbour \"{}\", which is no address",
                      told);
  }
  peer.address = *address;
  peer.asn = {state.peer_asn() != 0 ? state.peer_asn() : message.conf().peer_asn()};
  peer.local_asn = {state.local_asn() != 0 ? state.local_asn() : message.conf().local_asn()};
  peer.state = state_of(state.session_state());
  peer.admin = state_of(state.admin_state());
  peer.router_id = address_of(state.router_id());
  const auto& timers = message.timers();
  peer.hold_time_s = timers.config().hold_time();
  peer.connect_retry_s = timers.config().connect_retry();
  if (peer.state == SessionState::established) {
    peer.negotiated_hold_time_s = timers.state().negotiated_hold_time();
    peer.keepalive_interval_s = timers.state().keepalive_interval();
    if (timers.state().uptime().seconds() > 0) {
      peer.up_since_epoch_s = timers.state().uptime().seconds();
    }
  }
  peer.local = capabilities_of(state.local_cap());
  peer.remote = capabilities_of(state.remote_cap());
  peer.received = counts_of(state.messages().received());
  peer.sent = counts_of(state.messages().sent());
  for (const auto& family : message.afi_safis()) {
    peer.prefixes_received += family.state().received();
    peer.prefixes_accepted += family.state().accepted();
  }
  return peer;
}

apipb::Peer to_message(const NewPeer& peer) {
  apipb::Peer message;
  message.mutable_conf()->set_neighbor_address(peer.address.to_string());
  message.mutable_conf()->set_peer_asn(peer.asn.number);
  message.mutable_conf()->set_auth_password(peer.password);
  auto& timers = *message.mutable_timers()->mutable_config();
  timers.set_hold_time(peer.hold_time_s);
  timers.set_connect_retry(peer.connect_retry_s);
  message.mutable_transport()->set_passive_mode(peer.passive);
  for (const auto family : peer.families) {
    auto& config = *message.add_afi_safis()->mutable_config();
    *config.mutable_family() = to_message(family);
    config.set_enabled(true);
  }
  return message;
}

Result<Global> from_message(const apipb::Global& message) {
  Global global{.asn = {message.asn()},
                .router_id = {},
                .port = message.listen_port(),
                .multipath = message.use_multiple_paths()};
  ASSIGN_OR_RETURN(global.router_id, base::IpAddress::parse(message.router_id()));
  for (const auto& text : message.listen_addresses()) {
    ASSIGN_OR_RETURN(const auto address, base::IpAddress::parse(text));
    global.listen_addresses.push_back(address);
  }
  return global;
}

apipb::Global to_message(const Global& global) {
  apipb::Global message;
  message.set_asn(global.asn.number);
  message.set_router_id(global.router_id.to_string());
  message.set_listen_port(global.port);
  for (const auto& address : global.listen_addresses) {
    message.add_listen_addresses(address.to_string());
  }
  message.set_use_multiple_paths(global.multipath);
  return message;
}

Result<std::optional<Event>> from_message(const apipb::WatchEventResponse& message) {
  Event event;
  if (message.has_peer()) {
    if (message.peer().type() == apipb::WatchEventResponse::PeerEvent::END_OF_INIT) {
      event.kind = Event::Kind::peers_told;
      return event;
    }
    event.initial = message.peer().type() == apipb::WatchEventResponse::PeerEvent::INIT;
    ASSIGN_OR_RETURN(event.peer, from_message(message.peer().peer()));
    return event;
  }
  event.kind = Event::Kind::paths;
  for (const auto& path : message.table().paths()) {
    ASSIGN_OR_RETURN(auto read, from_message(path));
    if (read) {
      event.paths.push_back(std::move(*read));
    } else {
      ++event.other_families;
    }
  }
  if (event.paths.empty() && event.other_families == 0) return std::nullopt;
  return event;
}

}  // namespace bgp_peer
