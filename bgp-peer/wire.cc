#include "bgp-peer/wire.h"

#include <algorithm>

#include <net/ethernet.h>
#include <netinet/in.h>

namespace bgp_peer {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t header_size = 19;  // marker of 16, length of 2, type of 1
constexpr std::size_t marker_size = 16;
constexpr std::size_t longest_message = 4096;
constexpr std::uint8_t update_type = 2;
constexpr std::uint8_t mp_reach = 14;  // RFC 4760
constexpr std::uint8_t mp_unreach = 15;
constexpr std::uint8_t extended_length = 0x10;  // of an attribute's flags
constexpr std::uint16_t afi_ipv4 = 1;
constexpr std::uint16_t afi_ipv6 = 2;
constexpr std::uint8_t safi_unicast = 1;

std::uint16_t read16(Bytes bytes) { return static_cast<std::uint16_t>(bytes[0] << 8 | bytes[1]); }
std::uint32_t read32(Bytes bytes) {
  return static_cast<std::uint32_t>(read16(bytes)) << 16 | read16(bytes.subspan(2));
}

// Cuts `size` bytes off the front; nothing where there are fewer.
std::optional<Bytes> cut(Bytes& bytes, std::size_t size) {
  if (bytes.size() < size) return std::nullopt;
  const auto front = bytes.first(size);
  bytes = bytes.subspan(size);
  return front;
}

// Prefixes as NLRI has them: a length in bits, and as many bytes as that takes.
bool read_prefixes(Bytes bytes, base::AddressFamily family, std::vector<Prefix>& prefixes) {
  while (!bytes.empty()) {
    Prefix prefix{.address = {.family = family}, .length = bytes[0]};
    bytes = bytes.subspan(1);
    if (prefix.length > prefix.address.host_prefix()) return false;
    const auto address = cut(bytes, static_cast<std::size_t>(prefix.length + 7) / 8);
    if (!address) return false;
    std::ranges::copy(*address, prefix.address.bytes.begin());
    prefixes.push_back(prefix);
  }
  return true;
}

// MP_REACH_NLRI and MP_UNREACH_NLRI of families that are not ours are passed over.
bool read_multiprotocol(std::uint8_t type, Bytes value, Update& update) {
  const auto head = cut(value, 3);
  if (!head) return false;
  const auto afi = read16(*head);
  if ((*head)[2] != safi_unicast || (afi != afi_ipv4 && afi != afi_ipv6)) return true;
  const auto family = afi == afi_ipv4 ? base::AddressFamily::ipv4 : base::AddressFamily::ipv6;
  if (type == mp_unreach) return read_prefixes(value, family, update.withdrawn);
  const auto length = cut(value, 1);
  if (!length || !cut(value, (*length)[0]) || !cut(value, 1)) return false;
  return read_prefixes(value, family, update.announced);
}

bool read_attributes(Bytes bytes, Update& update) {
  while (!bytes.empty()) {
    const auto head = cut(bytes, 2);
    if (!head) return false;
    const auto length = cut(bytes, ((*head)[0] & extended_length) != 0 ? 2 : 1);
    if (!length) return false;
    const auto value = cut(bytes, length->size() == 2 ? read16(*length) : (*length)[0]);
    if (!value) return false;
    const auto type = (*head)[1];
    if ((type == mp_reach || type == mp_unreach) && !read_multiprotocol(type, *value, update)) {
      return false;
    }
  }
  return true;
}

bool is_message(Bytes bytes) {
  if (bytes.size() < header_size) return false;
  const auto length = read16(bytes.subspan(marker_size));
  return std::ranges::all_of(bytes.first(marker_size), [](auto byte) { return byte == 0xff; }) &&
         length >= header_size && length <= longest_message;
}

base::IpAddress address_of(base::AddressFamily family, Bytes bytes) {
  base::IpAddress address{.family = family};
  std::ranges::copy(bytes, address.bytes.begin());
  return address;
}

}  // namespace

std::optional<Update> read_update(std::span<const std::uint8_t> body) {
  Update update;
  const auto withdrawn_size = cut(body, 2);
  if (!withdrawn_size) return std::nullopt;
  const auto withdrawn = cut(body, read16(*withdrawn_size));
  const auto attributes_size = withdrawn ? cut(body, 2) : std::nullopt;
  if (!attributes_size) return std::nullopt;
  const auto attributes = cut(body, read16(*attributes_size));
  if (!attributes || !read_prefixes(*withdrawn, base::AddressFamily::ipv4, update.withdrawn) ||
      !read_attributes(*attributes, update) ||
      !read_prefixes(body, base::AddressFamily::ipv4, update.announced)) {
    return std::nullopt;
  }
  return update;
}

std::vector<Update> MessageStream::take(std::uint32_t sequence,
                                        std::span<const std::uint8_t> payload) {
  if (payload.empty()) return {};
  if (expected_) {
    // Modulo 2^32, as sequence numbers are.
    const auto ahead = static_cast<std::int32_t>(sequence - *expected_);
    if (ahead < 0) {
      const auto known = static_cast<std::size_t>(-static_cast<std::int64_t>(ahead));
      if (known >= payload.size()) return {};
      payload = payload.subspan(known);
      sequence = *expected_;
    } else if (ahead > 0) {
      waiting_.clear();
      expected_.reset();
    }
  }
  if (!expected_ && !is_message(payload)) return {};
  expected_ = sequence + static_cast<std::uint32_t>(payload.size());
  waiting_.insert(waiting_.end(), payload.begin(), payload.end());
  std::vector<Update> updates;
  Bytes rest = waiting_;
  while (is_message(rest)) {
    const auto length = read16(rest.subspan(marker_size));
    if (rest.size() < length) break;
    const auto message = *cut(rest, length);
    if (message[marker_size + 2] != update_type) continue;
    if (auto update = read_update(message.subspan(header_size))) {
      updates.push_back(std::move(*update));
    }
  }
  waiting_.assign(rest.begin(), rest.end());
  return updates;
}

std::optional<Segment> read_segment(std::span<const std::uint8_t> frame) {
  auto rest = frame;
  const auto ethernet = cut(rest, ETH_HLEN);
  if (!ethernet) return std::nullopt;
  const auto type = read16(ethernet->subspan(12));
  Segment segment;
  std::size_t size = 0;  // of what the IP header says follows it
  if (type == ETHERTYPE_IP && rest.size() >= 20) {
    const std::size_t header = static_cast<std::size_t>(rest[0] & 0xf) * 4;
    const std::size_t total = read16(rest.subspan(2));
    if (header < 20 || total < header || rest[9] != IPPROTO_TCP) return std::nullopt;
    segment.source.address = address_of(base::AddressFamily::ipv4, rest.subspan(12, 4));
    segment.destination.address = address_of(base::AddressFamily::ipv4, rest.subspan(16, 4));
    size = total - header;
    if (!cut(rest, header)) return std::nullopt;
  } else if (type == ETHERTYPE_IPV6 && rest.size() >= 40) {
    if (rest[6] != IPPROTO_TCP) return std::nullopt;
    segment.source.address = address_of(base::AddressFamily::ipv6, rest.subspan(8, 16));
    segment.destination.address = address_of(base::AddressFamily::ipv6, rest.subspan(24, 16));
    size = read16(rest.subspan(4));
    rest = rest.subspan(40);
  } else {
    return std::nullopt;
  }
  // A short frame is padded.
  auto tcp = rest.first(std::min(rest.size(), size));
  if (tcp.size() < 20) return std::nullopt;
  segment.source.port = read16(tcp);
  segment.destination.port = read16(tcp.subspan(2));
  segment.sequence = read32(tcp.subspan(4));
  const std::size_t header = static_cast<std::size_t>(tcp[12] >> 4) * 4;
  if (header < 20 || !cut(tcp, header)) return std::nullopt;
  segment.payload = tcp;
  return segment;
}

}  // namespace bgp_peer
