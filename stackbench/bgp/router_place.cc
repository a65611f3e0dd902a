#include "stackbench/bgp/router_place.h"

#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sched.h>

#include "bgp-peer/client.h"
#include "cluster/processes/addresses.h"
#include "cluster/processes/wiring.h"

namespace stackbench::bgp {
namespace {

namespace processes = cluster::processes;
using base::ErrorKind;
using base::IpAddress;
using base::Result;
using base::UniqueFd;

constexpr std::string_view our_own = "/proc/self/ns/net";

// A name stands for one of our cluster's, else for one of `ip netns`.
Result<UniqueFd> open_netns(std::string_view field, const std::string& name,
                            const std::optional<OwnCluster>& own) {
  std::vector<std::string> paths;
  if (name.find('/') != std::string::npos) {
    paths.push_back(name);
  } else {
    if (own) paths.push_back(fmt::format("/proc/{}/root/run/netns/{}", own->root, name));
    paths.push_back("/run/netns/" + name);
  }
  for (const auto& path : paths) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd) return fd;
    if (errno != ENOENT) return base::system_error(errno, "{}: {}", field, path);
  }
  return base::fail_with_mend(
      ErrorKind::input,
      fmt::format("{}: there is no network namespace {} ({})", field, name, fmt::join(paths, ", ")),
      "Name one of `ip netns`, or a path such as /proc/PID/ns/net.");
}

IpAddress address_of(const sockaddr& address) {
  IpAddress made;
  if (address.sa_family == AF_INET) {
    const auto& its = reinterpret_cast<const sockaddr_in&>(address).sin_addr;
    std::memcpy(made.bytes.data(), &its, sizeof(its));
  } else {
    made.family = base::AddressFamily::ipv6;
    const auto& its = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    std::memcpy(made.bytes.data(), &its, sizeof(its));
  }
  return made;
}

Result<std::string> find_interface(const IpAddress& wanted) {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) < 0) return base::system_error(errno, "getifaddrs");
  std::string found;
  for (const auto* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    const int family = one->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    if (address_of(*one->ifa_addr) == wanted) found = one->ifa_name;
  }
  ::freeifaddrs(all);
  if (!found.empty()) return found;
  return base::fail(ErrorKind::input,
                    "bgp.peer.address: no interface of bgp.peer.netns has the address {}", wanted);
}

Result<std::string> interface_in(int netns, const IpAddress& address) {
  Result<std::string> outcome;
  std::thread([&] {
    if (::setns(netns, CLONE_NEWNET) < 0) {
      outcome = base::system_error(errno, "setns to bgp.peer.netns");
    } else {
      outcome = find_interface(address);
    }
  }).join();
  return outcome;
}

}  // namespace

Result<RouterPlace> open_router_place(const Spec& spec, const std::optional<OwnCluster>& own) {
  RouterPlace place{.api = spec.peer.api};
  auto netns = spec.peer.netns;
  auto client = spec.client;
  // Of a cluster of ours everything is known, but only where nothing else is asked for.
  const bool is_own = own && netns.empty() && place.api.empty();
  if (is_own) netns = processes::router_netns;
  if (own && client.empty()) client = processes::external_netns;
  if (netns.empty() && place.api.empty()) {
    return base::fail_with_mend(
        ErrorKind::input,
        "bgp.peer: on a cluster that `stackbench up` did not make, the scenario has to say where "
        "its peer is",
        "Say bgp.peer.netns (a network namespace that nodes reach, for a gobgpd of ours) with "
        "bgp.peer.address, or bgp.peer.api (a gobgpd that runs).");
  }
  if (spec.peer.address) {
    place.address = *spec.peer.address;
  } else if (own && netns == processes::router_netns) {
    place.address = IpAddress::parse(processes::addresses::router).value();
  } else {
    return base::fail(ErrorKind::input,
                      "bgp.peer.address: say at which address the cluster's nodes find the peer");
  }
  if (!netns.empty()) {
    ASSIGN_OR_RETURN(place.router, open_netns("bgp.peer.netns", netns, own));
    ASSIGN_OR_RETURN(place.interface, interface_in(place.router.get(), place.address));
  }
  place.client_name = client.empty() ? "this machine" : client;
  ASSIGN_OR_RETURN(place.client,
                   open_netns("bgp.client", client.empty() ? std::string(our_own) : client, own));
  return place;
}

}  // namespace stackbench::bgp
