#include "bench/offloads.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fmt/ranges.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/file.h"

namespace bench {
namespace {

using base::ErrorKind;

struct Offload {
  std::string_view name;
  std::uint32_t get;
  std::uint32_t set;
};
constexpr std::array offloads{Offload{"tso", ETHTOOL_GTSO, ETHTOOL_STSO},
                              Offload{"gso", ETHTOOL_GGSO, ETHTOOL_SGSO},
                              Offload{"gro", ETHTOOL_GGRO, ETHTOOL_SGRO}};

// The value after the command was carried out.
base::Result<std::uint32_t> ethtool(const std::string& interface, std::uint32_t command,
                                    std::uint32_t value) {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::system_error(errno, "socket");
  ethtool_value data{.cmd = command, .data = value};
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&data);
  if (::ioctl(socket.get(), SIOCETHTOOL, &request) < 0) {
    return base::system_error(errno, "ethtool command {:#x} on {}", command, interface);
  }
  return data.data;
}

// Whether process 1 is in this network namespace too, or cannot be asked.
bool shared_namespace() {
  std::error_code error;
  const auto own = std::filesystem::read_symlink("/proc/thread-self/ns/net", error);
  if (error) return true;
  const auto first = std::filesystem::read_symlink("/proc/1/ns/net", error);
  return error || own == first;
}

struct RouteRequest {
  nlmsghdr header;
  rtmsg route;
  rtattr destination_header;
  std::array<unsigned char, 16> destination;
};

}  // namespace

base::Result<std::string> outgoing_interface(const base::IpAddress& destination) {
  const auto size = destination.family == base::AddressFamily::ipv6 ? 16U : 4U;
  RouteRequest request{};
  request.header.nlmsg_len =
      static_cast<std::uint32_t>(NLMSG_LENGTH(sizeof(rtmsg)) + RTA_LENGTH(size));
  request.header.nlmsg_type = RTM_GETROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.route.rtm_family = static_cast<unsigned char>(destination.af());
  request.route.rtm_dst_len = static_cast<unsigned char>(8 * size);
  request.destination_header.rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
  request.destination_header.rta_type = RTA_DST;
  std::memcpy(request.destination.data(), destination.bytes.data(), size);

  const base::UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return base::system_error(errno, "netlink socket");
  alignas(nlmsghdr) std::array<char, 4096> answer{};
  if (::send(socket.get(), &request, request.header.nlmsg_len, 0) < 0) {
    return base::system_error(errno, "asking for the route to {}", destination);
  }
  const auto n = ::recv(socket.get(), answer.data(), answer.size(), 0);
  if (n < 0) return base::system_error(errno, "asking for the route to {}", destination);
  const auto bytes = static_cast<std::size_t>(n);
  auto* message = reinterpret_cast<nlmsghdr*>(answer.data());
  if (bytes < NLMSG_LENGTH(sizeof(rtmsg))) {
    return base::fail(ErrorKind::system, "the route to {}: an answer of {} bytes", destination, n);
  }
  if (message->nlmsg_type == NLMSG_ERROR) {
    const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(message));
    return base::system_error(-error->error, "the route to {}", destination);
  }
  const auto* at = reinterpret_cast<const char*>(RTM_RTA(NLMSG_DATA(message)));
  const auto* const end = answer.data() + std::min<std::size_t>(message->nlmsg_len, bytes);
  while (end - at >= static_cast<std::ptrdiff_t>(sizeof(rtattr))) {
    rtattr attribute{};
    std::memcpy(&attribute, at, sizeof(attribute));
    const auto length = std::max<std::ptrdiff_t>(attribute.rta_len, sizeof(attribute));
    if (attribute.rta_type != RTA_OIF) {
      at += (length + RTA_ALIGNTO - 1) / RTA_ALIGNTO * RTA_ALIGNTO;
      continue;
    }
    if (end - at < static_cast<std::ptrdiff_t>(RTA_LENGTH(sizeof(std::uint32_t)))) break;
    std::uint32_t index = 0;
    std::memcpy(&index, at + RTA_LENGTH(0), sizeof(index));
    std::array<char, IF_NAMESIZE> name{};
    if (::if_indextoname(index, name.data()) == nullptr) {
      return base::system_error(errno, "interface {}", index);
    }
    return std::string(name.data());
  }
  return base::fail(ErrorKind::system, "the route to {} leaves by no interface", destination);
}

base::Result<Departed> departed(const std::string& interface) {
  // /proc/net is the namespace of the thread that began to look, /sys that of whoever mounted it.
  ASSIGN_OR_RETURN(const auto text, base::read_file("/proc/thread-self/net/dev"));
  const auto at = text.find(" " + interface + ":");
  const auto line_begin = at == std::string::npos ? text.find("\n" + interface + ":") : at;
  if (line_begin == std::string::npos) {
    return base::fail(ErrorKind::missing, "/proc/net/dev has no interface {}", interface);
  }
  Departed counts;
  // Eight figures of what came in, then bytes and packets of what left.
  unsigned long long bytes = 0;
  unsigned long long packets = 0;
  const auto figures = text.substr(line_begin + 1 + interface.size() + 1);
  // The kernel's figures fit. NOLINTNEXTLINE(bugprone-unchecked-string-to-number-conversion)
  if (std::sscanf(figures.c_str(), "%*u %*u %*u %*u %*u %*u %*u %*u %llu %llu", &bytes, &packets) !=
      2) {
    return base::fail(ErrorKind::system, "/proc/net/dev: no counts of {}", interface);
  }
  counts.bytes = bytes;
  counts.packets = packets;
  return counts;
}

base::Result<std::vector<std::string>> offloads_in_force(const std::string& interface) {
  std::vector<std::string> on;
  for (const auto& offload : offloads) {
    ASSIGN_OR_RETURN(const auto value, ethtool(interface, offload.get, 0));
    if (value != 0) on.emplace_back(offload.name);
  }
  return on;
}

base::Result<SegmentationSwitch> SegmentationSwitch::set(const std::string& interface,
                                                         Switch wanted) {
  const auto refused = [&](std::string why, std::string mend) {
    return base::fail_with_mend(
        ErrorKind::not_permitted,
        fmt::format("gso: {} of {}: {}", base::enum_name(wanted), interface, std::move(why)),
        std::move(mend));
  };
  const std::string elsewhere =
      "Run it in the lab, whose pods have network namespaces of their own, or leave gso out.";
  if (interface == "lo") {
    return refused("offloads of the loopback interface are everybody's", elsewhere);
  }
  if (shared_namespace()) {
    return refused("this network namespace is also process 1's, so it is not the run's own",
                   elsewhere);
  }
  SegmentationSwitch held(interface);
  for (const auto& offload : offloads) {
    if (offload.name == "gro") continue;
    ASSIGN_OR_RETURN(const auto before, ethtool(interface, offload.get, 0));
    if (auto done = ethtool(interface, offload.set, wanted == Switch::on ? 1 : 0); !done) {
      if (done.error().kind != ErrorKind::not_permitted) return std::unexpected(done.error());
      return refused("not permitted",
                     "It takes CAP_NET_ADMIN in the client's network namespace: run the client as "
                     "root there, or leave gso out.");
    }
    held.before_.push_back({offload.set, before});
  }
  return held;
}

SegmentationSwitch::SegmentationSwitch(SegmentationSwitch&& other) noexcept
    : interface_(std::move(other.interface_)), before_(std::exchange(other.before_, {})) {}

SegmentationSwitch::~SegmentationSwitch() {
  for (const auto& [command, value] : before_) std::ignore = ethtool(interface_, command, value);
}

}  // namespace bench
