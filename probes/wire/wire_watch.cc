#include "probes/wire/wire_watch.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

namespace probes {
namespace {

constexpr std::size_t waiting_room = std::size_t{64} << 20;
constexpr std::size_t most_connections = 65536;
// Connections that are over are kept a while, so that what is sent again behind their end belongs
// to them.
constexpr std::size_t ended_kept = 4096;

// Of application data, but for the one that ends a handshake of TLS 1.3 (RFC 8446, 4.4.4).
std::uint64_t records_of_data(const TlsStream& stream, std::uint16_t version) {
  constexpr std::uint16_t tls_1_3 = 0x0304;
  const auto records = stream.records(TlsContent::application_data);
  return records - (version == tls_1_3 && records > 0 ? 1U : 0U);
}

// Printable ones as they are, others as \x17.
std::string readable_text(const std::vector<std::uint8_t>& bytes) {
  std::string text;
  for (const auto byte : bytes) {
    if (byte >= 0x20 && byte < 0x7f && byte != '\\') {
      text += static_cast<char>(byte);
    } else {
      text += fmt::format("\\x{:02x}", byte);
    }
  }
  return text;
}

}  // namespace

struct WireWatch::Direction final : ByteSink {
  Direction(WireWatch& watch, base::Endpoint sender, base::Endpoint receiver)
      : watch_(&watch),
        from(std::move(sender)),
        to(std::move(receiver)),
        stream(watch.room_),
        search(watch.tokens_) {}

  void bytes(base::ByteSpan more) override {
    payload += more.size();
    search.bytes(more, [&](const Sighting& sighting) { watch_->sighted(sighting, *this, false); });
    tls.take(more);
  }
  void again(base::ByteSpan known) override {
    CanarySearch apart(watch_->tokens_);
    const auto found = [&](const Sighting& sighting) { watch_->sighted(sighting, *this, true); };
    apart.bytes(known, found);
    apart.cut(found);
  }
  void missing(std::uint64_t /*size*/) override {
    gaps = true;
    cut();
  }
  void cut() {
    search.cut([&](const Sighting& sighting) { watch_->sighted(sighting, *this, false); });
  }

  WireWatch* watch_;
  base::Endpoint from;
  base::Endpoint to;
  ByteStream stream;
  CanarySearch search;
  TlsStream tls;
  std::uint64_t payload = 0;
  bool gaps = false;
};

struct WireWatch::Connection {
  enum class Kind { judged, sample, other };
  Connection(WireWatch& watch, const base::Endpoint& client, const base::Endpoint& server, Kind its)
      : to_server(watch, client, server), to_client(watch, server, client), kind(its) {}

  // Whether this SYN opens another connection between the same two.
  [[nodiscard]] bool is_followed_by(const base::TcpSegment& segment) const {
    if (over) return true;
    return opened_at && segment.source == to_server.from && segment.sequence != *opened_at;
  }

  Direction to_server;
  Direction to_client;
  Kind kind;
  std::optional<std::uint32_t> opened_at;  // the sequence number of the SYN
  bool over = false;
};

std::size_t WireWatch::HashKey::operator()(const Key& key) const {
  // FNV-1a; what an attacker could do with it is make a capture slow.
  std::size_t hash = 14695981039346656037U;
  const auto mix = [&](std::size_t value) { hash = (hash ^ value) * 1099511628211U; };
  for (const auto* endpoint : {&key.a, &key.b}) {
    for (const auto byte : endpoint->address.bytes) mix(byte);
    mix(endpoint->port);
  }
  return hash;
}

WireWatch::WireWatch(const CaptureJob& job)
    : room_(waiting_room),
      servers_(job.servers),
      clients_(job.clients),
      job_tokens_(job.canaries.size()) {
  std::ranges::sort(clients_);
  std::ranges::sort(servers_);
  for (const auto& server : servers_) addresses_.push_back(server.address);
  std::ranges::sort(addresses_);
  for (const auto& canary : job.canaries) {
    names_.push_back(canary.name);
    report_.canaries[canary.name] = 0;
    look_for(canary.token);
  }
}

WireWatch::~WireWatch() = default;

std::size_t WireWatch::look_for(std::string token) {
  tokens_.push_back(std::move(token));
  seen_.push_back(0);
  return tokens_.size() - 1;
}

bool WireWatch::is_server(const base::Endpoint& endpoint) const {
  return std::ranges::binary_search(servers_, endpoint);
}

bool WireWatch::is_client(const base::IpAddress& address) const {
  return std::ranges::binary_search(clients_, address);
}

bool WireWatch::concerns_us(const base::TcpSegment& segment) const {
  return std::ranges::any_of(
      std::array{&segment.source.address, &segment.destination.address}, [&](const auto* address) {
        return is_client(*address) || std::ranges::binary_search(addresses_, *address);
      });
}

void WireWatch::sent_elsewhere(const base::Endpoint& to, std::string_view protocol,
                               std::uint64_t bytes) {
  if (bytes == 0) return;
  report_.bytes_elsewhere += bytes;
  const auto found = std::ranges::find_if(report_.elsewhere, [&](const SentElsewhere& one) {
    return one.to == to && one.protocol == protocol;
  });
  if (found != report_.elsewhere.end()) {
    found->bytes += bytes;
  } else if (report_.elsewhere.size() < elsewhere_listed) {
    report_.elsewhere.push_back({.to = to, .protocol = std::string(protocol), .bytes = bytes});
  }
}

void WireWatch::take(base::ByteSpan frame, std::size_t size, base::MonotonicTime at) {
  now_ = at;
  auto packet = base::read_packet(frame);
  const bool cut = size > frame.size();
  switch (packet.kind) {
    case base::PacketKind::tcp:
      if (!concerns_us(packet.segment)) return;
      if (cut || packet.segment.missing > 0) ++report_.unreadable;
      if (packet.tunnels > 0) ++report_.tunnelled;
      take_segment(packet.segment);
      break;
    case base::PacketKind::fragment:
    case base::PacketKind::unreadable:
      ++report_.unreadable;
      break;
    case base::PacketKind::sealed:
      ++report_.sealed;
      [[fallthrough]];
    case base::PacketKind::datagram:
      if (!is_client(packet.segment.source.address)) break;
      sent_elsewhere(packet.segment.destination, packet.segment.source.port == 0 ? "other" : "UDP",
                     packet.segment.payload.size());
      break;
    case base::PacketKind::other:
      break;
  }
}

void WireWatch::take_segment(const base::TcpSegment& segment) {
  auto* const connection = connection_of(segment);
  if (connection == nullptr) return;
  auto& direction =
      segment.source == connection->to_server.from ? connection->to_server : connection->to_client;
  direction.stream.take(segment, direction);
  const bool reset = (segment.flags & base::tcp_rst) != 0;
  const bool closed = connection->to_server.stream.whole() && connection->to_client.stream.whole();
  if ((reset || closed) && !std::exchange(connection->over, true)) {
    ended_.push_back(segment.source < segment.destination
                         ? Key{segment.source, segment.destination}
                         : Key{segment.destination, segment.source});
    make_room();
  }
}

WireWatch::Connection* WireWatch::connection_of(const base::TcpSegment& segment) {
  const bool forward = segment.source < segment.destination;
  const Key key{forward ? segment.source : segment.destination,
                forward ? segment.destination : segment.source};
  const bool opens = (segment.flags & (base::tcp_syn | base::tcp_ack)) == base::tcp_syn;
  const auto found = connections_.find(key);
  if (found != connections_.end()) {
    if (!opens || !found->second->is_followed_by(segment)) return found->second.get();
    // The same ports once more.
    conclude(*found->second);
    connections_.erase(found);
  }
  const bool answers = (segment.flags & base::tcp_syn) != 0 && !opens;
  // What neither opens anything nor carries anything tells nothing of a connection.
  if (!opens && !answers && segment.payload.empty()) return nullptr;
  if (connections_.size() >= most_connections) {
    ++report_.unwatched;
    return nullptr;
  }
  // Who is the server: one of ours, else whoever was dialled.
  const bool to_server = is_server(segment.destination) || (!is_server(segment.source) && !answers);
  const auto& client = to_server ? segment.source : segment.destination;
  const auto& server = to_server ? segment.destination : segment.source;
  const bool sample = std::ranges::find(left_out_, client) != left_out_.end();
  const auto kind = sample              ? Connection::Kind::sample
                    : is_server(server) ? Connection::Kind::judged
                                        : Connection::Kind::other;
  auto made = std::make_unique<Connection>(*this, client, server, kind);
  if (opens) made->opened_at = segment.sequence;
  return connections_.emplace(key, std::move(made)).first->second.get();
}

void WireWatch::make_room() {
  while (ended_.size() > ended_kept) {
    const auto found = connections_.find(ended_.front());
    ended_.pop_front();
    // It may have been replaced by a younger one of the same ports, which goes on.
    if (found == connections_.end() || !found->second->over) continue;
    conclude(*found->second);
    connections_.erase(found);
  }
}

void WireWatch::sighted(const Sighting& sighting, const Direction& direction, bool again) {
  ++seen_[sighting.token];
  if (sighting.token >= job_tokens_) return;
  const auto& name = names_[sighting.token];
  ++report_.canaries[name];
  auto& span = report_.spans.try_emplace(name, CanarySpan{now_.ns, now_.ns}).first->second;
  span.first_ns = std::min(span.first_ns, now_.ns);
  span.last_ns = std::max(span.last_ns, now_.ns);
  if (again) ++report_.canaries_again;
  if (report_.readable.size() == canaries_listed) return;
  report_.readable.push_back({.name = name,
                              .number = sighting.number,
                              .from = direction.from,
                              .to = direction.to,
                              .at_ns = now_.ns});
}

void WireWatch::conclude(Connection& connection) {
  for (auto* direction : {&connection.to_server, &connection.to_client}) {
    direction->stream.finish(*direction);
    direction->cut();
  }
  if (connection.kind == Connection::Kind::other) conclude_other(connection);
  if (connection.kind != Connection::Kind::judged) return;
  report_.bytes_to_servers += connection.to_server.payload;
  report_.bytes_to_clients += connection.to_client.payload;
  if (connection.to_server.payload + connection.to_client.payload == 0) return;
  ++report_.connections;
  conclude_tls(connection);
}

// What others opened, such as whoever asks whether the client is ready, is looked at for canaries
// and no way of the client's own.
void WireWatch::conclude_other(const Connection& connection) {
  const auto& client = connection.to_server;
  if (connection.opened_at && !is_client(client.from.address)) return;
  for (const auto* direction : {&connection.to_server, &connection.to_client}) {
    if (is_client(direction->from.address)) {
      sent_elsewhere(direction->to, "TCP", direction->payload);
    }
  }
}

void WireWatch::conclude_tls(Connection& connection) {
  const auto& client = connection.to_server;
  const auto& server = connection.to_client;
  std::string why;
  const std::vector<std::uint8_t>* bytes = nullptr;
  const auto stranger = [&](const Direction& direction, std::string_view who) {
    if (!why.empty() || direction.tls.all_records()) return;
    why = fmt::format("byte {} of what the {} sent is in no TLS record",
                      *direction.tls.stranger_at(), who);
    bytes = &direction.tls.stranger();
  };
  // Behind a gap, or where the beginning was not seen, records cannot be told from anything.
  if (client.gaps || server.gaps) {
    ++report_.connections_with_gaps;
    return;
  }
  if (client.stream.begun_midway() || server.stream.begun_midway()) {
    ++report_.connections_midway;
    return;
  }
  stranger(client, "client");
  stranger(server, "server");
  if (why.empty() && !client.tls.client_hello()) why = "the client sent no ClientHello";
  // One that is refused before its ServerHello carries no data, and is TLS all the same.
  const bool refused = client.tls.records(TlsContent::application_data) == 0 &&
                       server.tls.records(TlsContent::application_data) == 0;
  if (why.empty() && !server.tls.server_hello() && !refused) {
    why = "the server sent no ServerHello";
  }
  if (why.empty() && (client.tls.data_before_hello() || server.tls.data_before_hello())) {
    why = "data came before the hellos";
  }
  if (!why.empty()) {
    ++report_.connections_foreign;
    if (report_.foreign.size() < foreign_listed) {
      report_.foreign.push_back({.client = client.from,
                                 .server = server.from,
                                 .why = std::move(why),
                                 .bytes = bytes == nullptr ? "" : readable_text(*bytes)});
    }
    return;
  }
  ++report_.connections_of_tls;
  report_.tls_bytes_to_servers += client.payload;
  report_.tls_bytes_to_clients += server.payload;
  const auto hello = server.tls.server_hello().value_or(ServerHello{});
  report_.records_to_servers += records_of_data(client.tls, hello.version);
  report_.records_to_clients += records_of_data(server.tls, hello.version);
  note_handshake(*client.tls.client_hello(), hello, client.to.port);
}

void WireWatch::note_handshake(const ClientHello& client, const ServerHello& server,
                               std::uint16_t port) {
  HandshakeKind kind{.server_name = client.server_name,
                     .alpn = client.alpn,
                     .versions = {},
                     .version = server.version == 0 ? "" : tls_version_name(server.version),
                     .cipher_suite = fmt::format("{:#06x}", server.cipher_suite),
                     .chosen_alpn = server.alpn,
                     .server_port = port};
  for (const auto version : client.versions) kind.versions.push_back(tls_version_name(version));
  auto found = std::ranges::find_if(report_.handshakes,
                                    [&](const auto& known) { return known.says_the_same(kind); });
  if (found == report_.handshakes.end()) {
    if (report_.handshakes.size() == handshake_kinds_listed) {
      ++report_.handshakes_unlisted;
      return;
    }
    report_.handshakes.push_back(std::move(kind));
    found = std::prev(report_.handshakes.end());
  }
  ++found->connections;
  if (client.resumes) ++found->resumed;
}

WireReport WireWatch::finish() {
  for (auto& [key, connection] : connections_) conclude(*connection);
  connections_.clear();
  return std::move(report_);
}

}  // namespace probes
