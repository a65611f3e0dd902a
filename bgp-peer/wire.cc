#include "bgp-peer/wire.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/packet.h"

namespace bgp_peer {
namespace {

using Bytes = base::ByteSpan;

constexpr std::size_t header_size = 19;  // marker of 16, length of 2, type of 1
constexpr std::size_t marker_size = 16;
constexpr std::size_t longest_message = 4096;
constexpr std::uint8_t capabilities_parameter = 2;  // of an OPEN (RFC 5492, 4)
constexpr std::uint8_t graceful_restart_code = 64;  // RFC 4724, 3
constexpr std::uint8_t four_octet_asn_code = 65;    // RFC 6793, 3
constexpr std::uint8_t mp_reach = 14;               // RFC 4760
constexpr std::uint8_t mp_unreach = 15;
constexpr std::uint8_t extended_length = 0x10;  // of an attribute's flags
constexpr std::uint16_t afi_ipv4 = 1;
constexpr std::uint16_t afi_ipv6 = 2;
constexpr std::uint8_t safi_unicast = 1;

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
  const auto afi = base::read_be16(*head);
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
    const auto value = cut(bytes, length->size() == 2 ? base::read_be16(*length) : (*length)[0]);
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
  const auto length = base::read_be16(bytes.subspan(marker_size));
  return std::ranges::all_of(bytes.first(marker_size), [](auto byte) { return byte == 0xff; }) &&
         length >= header_size && length <= longest_message;
}

// RFC 4724, 3: four bits of flags and twelve of a time, then a family and its flags each.
std::optional<GracefulRestart> read_graceful_restart(Bytes value) {
  constexpr std::uint16_t restart_state = 0x8000;
  constexpr std::uint8_t forwarding_state = 0x80;
  const auto head = cut(value, 2);
  if (!head || value.size() % 4 != 0) return std::nullopt;
  GracefulRestart read{
      .restarting = (base::read_be16(*head) & restart_state) != 0,
      .restart_time_s = static_cast<std::uint32_t>(base::read_be16(*head) & 0xfff)};
  while (const auto one = cut(value, 4)) {
    const auto afi = base::read_be16(*one);
    if ((*one)[2] != safi_unicast || (afi != afi_ipv4 && afi != afi_ipv6)) continue;
    const auto family = afi == afi_ipv4 ? Family::ipv4_unicast : Family::ipv6_unicast;
    read.families.push_back(family);
    if (((*one)[3] & forwarding_state) != 0) read.forwarding.push_back(family);
  }
  return read;
}

bool read_capabilities(Bytes bytes, Open& open) {
  while (!bytes.empty()) {
    const auto head = cut(bytes, 2);
    const auto value = head ? cut(bytes, (*head)[1]) : std::nullopt;
    if (!value) return false;
    if ((*head)[0] == graceful_restart_code) {
      open.graceful_restart = read_graceful_restart(*value);
      if (!open.graceful_restart) return false;
    } else if ((*head)[0] == four_octet_asn_code && value->size() == 4) {
      open.asn.number = base::read_be32(*value);
    }
  }
  return true;
}

// The message of a type; nothing where its body is malformed or its type is none.
std::optional<Message> read_message(std::uint8_t type, Bytes body) {
  Message message{.type = static_cast<MessageType>(type)};
  switch (message.type) {
    case MessageType::open:
      message.open = read_open(body);
      if (!message.open) return std::nullopt;
      return message;
    case MessageType::update:
      message.update = read_update(body);
      if (!message.update) return std::nullopt;
      return message;
    case MessageType::notification:
      message.notification = read_notification(body);
      if (!message.notification) return std::nullopt;
      return message;
    case MessageType::keepalive:
    case MessageType::route_refresh:
      return message;
  }
  return std::nullopt;
}

struct NotificationName {
  std::uint8_t code;
  std::uint8_t subcode;  // 0: of the code itself
  std::string_view name;
};
// RFC 4271, 4.5; Cease's own: RFC 4486, 4.
constexpr std::array notification_names{
    NotificationName{1, 0, "Message Header Error"},
    NotificationName{2, 0, "OPEN Message Error"},
    NotificationName{2, 1, "Unsupported Version Number"},
    NotificationName{2, 2, "Bad Peer AS"},
    NotificationName{2, 3, "Bad BGP Identifier"},
    NotificationName{2, 6, "Unacceptable Hold Time"},
    NotificationName{3, 0, "UPDATE Message Error"},
    NotificationName{4, 0, "Hold Timer Expired"},
    NotificationName{5, 0, "Finite State Machine Error"},
    NotificationName{6, 0, "Cease"},
    NotificationName{6, 1, "Maximum Number of Prefixes Reached"},
    NotificationName{6, 2, "Administrative Shutdown"},
    NotificationName{6, 3, "Peer De-configured"},
    NotificationName{6, 4, "Administrative Reset"},
    NotificationName{6, 5, "Connection Rejected"},
    NotificationName{6, 6, "Other Configuration Change"},
    NotificationName{6, 7, "Connection Collision Resolution"},
    NotificationName{6, 8, "Out of Resources"},
};

std::string_view name_of(std::uint8_t code, std::uint8_t subcode) {
  for (const auto& one : notification_names) {
    if (one.code == code && one.subcode == subcode) return one.name;
  }
  return "";
}

}  // namespace

std::optional<Update> read_update(std::span<const std::uint8_t> body) {
  Update update;
  const auto withdrawn_size = cut(body, 2);
  if (!withdrawn_size) return std::nullopt;
  const auto withdrawn = cut(body, base::read_be16(*withdrawn_size));
  const auto attributes_size = withdrawn ? cut(body, 2) : std::nullopt;
  if (!attributes_size) return std::nullopt;
  const auto attributes = cut(body, base::read_be16(*attributes_size));
  if (!attributes || !read_prefixes(*withdrawn, base::AddressFamily::ipv4, update.withdrawn) ||
      !read_attributes(*attributes, update) ||
      !read_prefixes(body, base::AddressFamily::ipv4, update.announced)) {
    return std::nullopt;
  }
  return update;
}

std::optional<Open> read_open(std::span<const std::uint8_t> body) {
  const auto head = cut(body, 10);  // version, AS, hold time, identifier, length of parameters
  if (!head || body.size() != (*head)[9]) return std::nullopt;
  Open open{.asn = {base::read_be16(head->subspan(1))},
            .hold_time_s = base::read_be16(head->subspan(3))};
  while (!body.empty()) {
    const auto parameter = cut(body, 2);
    const auto value = parameter ? cut(body, (*parameter)[1]) : std::nullopt;
    if (!value) return std::nullopt;
    if ((*parameter)[0] == capabilities_parameter && !read_capabilities(*value, open)) {
      return std::nullopt;
    }
  }
  return open;
}

std::optional<Notification> read_notification(std::span<const std::uint8_t> body) {
  if (body.size() < 2) return std::nullopt;
  return Notification{.code = body[0], .subcode = body[1]};
}

std::string Notification::to_string() const {
  std::string words(name_of(code, 0));
  const auto its = subcode == 0 ? std::string_view() : name_of(code, subcode);
  if (!its.empty()) words += fmt::format(", {}", its);
  if (!words.empty()) words += ' ';
  return words + fmt::format("({}/{})", code, subcode);
}

std::vector<Update> MessageStream::take(std::uint32_t sequence,
                                        std::span<const std::uint8_t> payload) {
  std::vector<Update> updates;
  for (auto& message : messages(sequence, payload)) {
    if (message.update) updates.push_back(std::move(*message.update));
  }
  return updates;
}

std::vector<Message> MessageStream::messages(std::uint32_t sequence,
                                             std::span<const std::uint8_t> payload) {
  std::vector<Message> all;
  if (payload.empty()) return all;
  // Modulo 2^32, as sequence numbers are.
  const auto ahead_of_it = [this](std::uint32_t one) {
    return expected_ ? static_cast<std::int32_t>(one - *expected_) : 0;
  };
  if (ahead_of_it(sequence) <= 0) {
    append(sequence, payload, all);
  } else {
    early_.push_back({.sequence = sequence, .payload = {payload.begin(), payload.end()}});
    early_bytes_ += payload.size();
    if (early_bytes_ > most_early_bytes) {
      expected_.reset();
      waiting_.clear();
    }
  }
  while (!early_.empty()) {
    const auto first = early_.front().sequence;
    const auto next = std::ranges::min_element(early_, {}, [first](const Segment& one) {
      return static_cast<std::int32_t>(one.sequence - first);
    });
    if (ahead_of_it(next->sequence) > 0) break;
    const auto segment = std::move(*next);
    early_.erase(next);
    early_bytes_ -= segment.payload.size();
    append(segment.sequence, segment.payload, all);
  }
  return all;
}

void MessageStream::append(std::uint32_t sequence, std::span<const std::uint8_t> payload,
                           std::vector<Message>& all) {
  if (expected_) {
    const auto known = static_cast<std::size_t>(*expected_ - sequence);
    if (known >= payload.size()) return;
    payload = payload.subspan(known);
    sequence = *expected_;
  }
  if (!expected_ && !is_message(payload)) return;
  expected_ = sequence + static_cast<std::uint32_t>(payload.size());
  waiting_.insert(waiting_.end(), payload.begin(), payload.end());
  Bytes rest = waiting_;
  while (is_message(rest)) {
    const auto length = base::read_be16(rest.subspan(marker_size));
    if (rest.size() < length) break;
    const auto message = *cut(rest, length);
    if (auto read = read_message(message[marker_size + 2], message.subspan(header_size))) {
      all.push_back(std::move(*read));
    }
  }
  waiting_.assign(rest.begin(), rest.end());
}

}  // namespace bgp_peer
