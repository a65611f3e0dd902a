// Network addresses that hold either family from the first day.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include <sys/socket.h>

#include "base/result.h"

namespace base {

enum class AddressFamily { ipv4, ipv6 };

// An IPv4 or IPv6 address without scope. The bytes are in network order; an IPv4 address uses the
// first four and leaves the rest zero.
struct IpAddress {
  AddressFamily family = AddressFamily::ipv4;
  std::array<std::uint8_t, 16> bytes{};

  auto operator<=>(const IpAddress&) const = default;

  // `10.244.1.2` or `fd00::1`. Errors: input, when the text is neither.
  static Result<IpAddress> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  // AF_INET or AF_INET6.
  [[nodiscard]] int af() const { return family == AddressFamily::ipv4 ? AF_INET : AF_INET6; }
  // 32 or 128: the length of a host route to it.
  [[nodiscard]] int host_prefix() const { return family == AddressFamily::ipv4 ? 32 : 128; }
};

// An address and a port (host order).
struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  auto operator<=>(const Endpoint&) const = default;

  // `10.244.1.2:80` or `[fd00::1]:80`. Errors: input.
  static Result<Endpoint> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
};

// An Endpoint in the kernel's form, ready for connect(2) and bind(2).
class SocketAddress {
 public:
  SocketAddress() = default;
  explicit SocketAddress(const Endpoint& endpoint);

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage_); }
  [[nodiscard]] socklen_t size() const { return size_; }
  // For calls that write an address (accept, getpeername): where they write its length.
  [[nodiscard]] socklen_t* capacity() {
    size_ = sizeof(storage_);
    return &size_;
  }
  // The endpoint held. Errors: input, when the family is neither AF_INET nor AF_INET6.
  [[nodiscard]] Result<Endpoint> endpoint() const;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

}  // namespace base

template <>
struct fmt::formatter<base::IpAddress> : fmt::formatter<std::string> {
  auto format(const base::IpAddress& address, fmt::format_context& context) const {
    return fmt::formatter<std::string>::format(address.to_string(), context);
  }
};

template <>
struct fmt::formatter<base::Endpoint> : fmt::formatter<std::string> {
  auto format(const base::Endpoint& endpoint, fmt::format_context& context) const {
    return fmt::formatter<std::string>::format(endpoint.to_string(), context);
  }
};
