#include "base/address.h"

#include <charconv>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace base {

Result<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  IpAddress address;
  // inet_pton would stop at a NUL and accept what stands before it.
  if (text.find('\0') == std::string_view::npos) {
    if (::inet_pton(AF_INET, terminated.c_str(), address.bytes.data()) == 1) return address;
    address.family = AddressFamily::ipv6;
    if (::inet_pton(AF_INET6, terminated.c_str(), address.bytes.data()) == 1) return address;
  }
  return fail(ErrorKind::input, "expected an IPv4 or IPv6 address such as 10.244.1.2, got \"{}\"",
              text);
}

std::string IpAddress::to_string() const {
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(af(), bytes.data(), text, sizeof text);
  return text;
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
  const auto wrong = [&] {
    return fail(ErrorKind::input,
                "expected an address and port such as 10.244.1.2:80 or [fd00::1]:80, got \"{}\"",
                text);
  };
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong();
  auto host = text.substr(0, colon);
  const auto port_text = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  auto address = IpAddress::parse(host);
  if (!address || bracketed != (address->family == AddressFamily::ipv6)) return wrong();
  Endpoint endpoint{.address = *address};
  const auto* end = port_text.data() + port_text.size();
  const auto [rest, problem] = std::from_chars(port_text.data(), end, endpoint.port);
  if (problem != std::errc{} || rest != end) return wrong();
  return endpoint;
}

std::string Endpoint::to_string() const {
  if (address.family == AddressFamily::ipv4) return fmt::format("{}:{}", address.to_string(), port);
  return fmt::format("[{}]:{}", address.to_string(), port);
}

SocketAddress::SocketAddress(const Endpoint& endpoint) {
  if (endpoint.address.family == AddressFamily::ipv4) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    std::memcpy(&in.sin_addr, endpoint.address.bytes.data(), sizeof in.sin_addr);
    std::memcpy(&storage_, &in, sizeof in);
    size_ = sizeof in;
  } else {
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(endpoint.port);
    std::memcpy(&in6.sin6_addr, endpoint.address.bytes.data(), sizeof in6.sin6_addr);
    std::memcpy(&storage_, &in6, sizeof in6);
    size_ = sizeof in6;
  }
}

Result<Endpoint> SocketAddress::endpoint() const {
  Endpoint endpoint;
  if (storage_.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &storage_, sizeof in);
    std::memcpy(endpoint.address.bytes.data(), &in.sin_addr, sizeof in.sin_addr);
    endpoint.port = ntohs(in.sin_port);
    return endpoint;
  }
  if (storage_.ss_family == AF_INET6) {
    sockaddr_in6 in6{};
    std::memcpy(&in6, &storage_, sizeof in6);
    endpoint.address.family = AddressFamily::ipv6;
    std::memcpy(endpoint.address.bytes.data(), &in6.sin6_addr, sizeof in6.sin6_addr);
    endpoint.port = ntohs(in6.sin6_port);
    return endpoint;
  }
  return fail(ErrorKind::input, "socket address of family {}, expected IPv4 or IPv6",
              storage_.ss_family);
}

}  // namespace base
