// Calls of one question and their answers; streams of events are in watch.cc.
#include "bgp-peer/client.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "bgp-peer/connection.h"
#include "bgp-peer/messages.h"

namespace bgp_peer {
namespace {

using base::ErrorKind;
using base::Result;

// GoBGP takes Go's defaults: it closes connections that ping more often than every five minutes.
constexpr int ping_after_ms = 310'000;
constexpr int ping_patience_ms = 20'000;

grpc::ChannelArguments channel_arguments() {
  grpc::ChannelArguments arguments;
  // A proxy of the environment is for the web, and connections are not shared: each client has its
  // own, so that one which was refused does not wait out the patience of another.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(256 << 20);  // as gobgpd's own limit
  // A host that fell silent closes no connection: a watch of it would stay quiet for ever.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, ping_after_ms);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ping_patience_ms);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // as many as it takes
  return arguments;
}

apipb::TableType to_message(Table table) {
  if (table == Table::adj_in) return apipb::ADJ_IN;
  return table == Table::adj_out ? apipb::ADJ_OUT : apipb::GLOBAL;
}

constexpr std::string_view wanted_version =
    "stackbench speaks the API of GoBGP 3, whose services GoBGP 4 replaced: run a gobgpd of "
    "version 3, "
    "as Debian 12 has it (3.10).";

}  // namespace

base::Error error_of(const grpc::Status& status, const std::string& address, bool connected) {
  const auto& words = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      if (connected) {
        return {.kind = ErrorKind::peer_lost,
                .message = fmt::format("{}: gobgpd went away: {}", address, words),
                .mend = "Look at its log for why it ended."};
      }
      return {.kind = ErrorKind::missing,
              .message = fmt::format("{}: no gobgpd answers: {}", address, words),
              .mend =
                  "Is it running, and is this what its --api-hosts says? Its API listens on port "
                  "50051 unless told otherwise."};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {
          .kind = ErrorKind::missing,
          .message = fmt::format("{}: what answers has not the API of GoBGP 3: {}", address, words),
          .mend = std::string(wanted_version)};
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {.kind = ErrorKind::timed_out,
              .message = fmt::format("{}: gobgpd did not answer in time", address),
              .mend = connected ? "" : "Is a packet filter on the way?"};
    case grpc::StatusCode::CANCELLED:
      return {.kind = ErrorKind::interrupted,
              .message = fmt::format("{}: stopped while gobgpd had not answered", address)};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {.kind = ErrorKind::system,
              .message = fmt::format("{}: gobgpd's answer is too large: {}", address, words),
              .mend = "Ask for one family or one neighbour at a time."};
    case grpc::StatusCode::INTERNAL:
      return {.kind = ErrorKind::peer_lost,
              .message = fmt::format("{}: what came is no answer of gobgpd: {}", address, words),
              .mend = "Is it gobgpd's API that listens there?"};
    default:
      // GoBGP gives what it refuses the code UNKNOWN and its reason as text.
      return {.kind = ErrorKind::input, .message = fmt::format("{}: gobgpd: {}", address, words)};
  }
}

std::chrono::system_clock::time_point due(base::Duration deadline) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(deadline);
}

Interruptible::Interruptible(grpc::ClientContext& context, int interrupt_fd) {
  if (interrupt_fd < 0) return;
  done_.reset(::eventfd(0, EFD_CLOEXEC));
  waiting_ = std::thread([&context, interrupt_fd, done = done_.get()] {
    std::array<pollfd, 2> watched{{{.fd = interrupt_fd, .events = POLLIN, .revents = 0},
                                   {.fd = done, .events = POLLIN, .revents = 0}}};
    while (::poll(watched.data(), watched.size(), -1) < 0 && errno == EINTR) {
    }
    if (watched[0].revents != 0) context.TryCancel();
  });
}

Interruptible::~Interruptible() {
  if (!waiting_.joinable()) return;
  ::eventfd_write(done_.get(), 1);
  waiting_.join();
}

Result<std::string> api_address(std::string_view text) {
  const auto wrong = [&] {
    return base::fail_with_mend(
        ErrorKind::input,
        fmt::format("expected the address of gobgpd's API, such as 10.0.0.1:50051 or "
                    "unix:/run/gobgpd.sock, got \"{}\"",
                    text),
        text.find("://") != std::string_view::npos
            ? "It is gRPC: leave out what stands before the host."
            : "Give HOST, HOST:PORT with the port of its --api-hosts, or unix:PATH.");
  };
  if (text.starts_with("unix:")) {
    auto path = text.substr(5);
    if (path.starts_with("//")) path.remove_prefix(2);
    if (path.empty()) return wrong();
    return fmt::format("unix:{}", path);
  }
  if (const auto address = base::IpAddress::parse(text)) {
    return base::Endpoint{*address, default_api_port}.to_string();
  }
  if (const auto endpoint = base::Endpoint::parse(text)) return endpoint->to_string();
  // A host's name, for the resolver.
  const auto colon = text.find(':');
  const auto host = text.substr(0, colon);
  if (host.empty() || host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789-._") != std::string_view::npos) {
    return wrong();
  }
  const auto port = colon == std::string_view::npos ? std::to_string(default_api_port)
                                                    : std::string(text.substr(colon + 1));
  if (!base::Endpoint::parse(fmt::format("0.0.0.0:{}", port))) return wrong();
  return fmt::format("dns:{}:{}", host, port);
}

Client::Client(std::unique_ptr<State> state) : state_(std::move(state)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Result<Client> Client::connect(std::string_view address, base::Duration deadline,
                               int interrupt_fd) {
  auto state = std::make_unique<State>();
  ASSIGN_OR_RETURN(state->address, api_address(address));
  state->deadline = deadline;
  state->interrupt_fd = interrupt_fd;
  state->channel = grpc::CreateCustomChannel(state->address, grpc::InsecureChannelCredentials(),
                                             channel_arguments());
  state->stub = apipb::GobgpApi::NewStub(state->channel);
  RETURN_IF_ERROR(state->call(&Stub::GetBgp, apipb::GetBgpRequest()));
  state->connected = true;
  return Client(std::move(state));
}

const std::string& Client::address() const { return state_->address; }

Result<std::optional<Global>> Client::global() const {
  ASSIGN_OR_RETURN(const auto reply, state_->call(&Stub::GetBgp, apipb::GetBgpRequest()));
  if (reply.global().asn() == 0) return std::nullopt;
  ASSIGN_OR_RETURN(auto global, from_message(reply.global()));
  return std::optional(std::move(global));
}

Result<> Client::start(const Global& global) const {
  apipb::StartBgpRequest request;
  *request.mutable_global() = to_message(global);
  return state_->tell(&Stub::StartBgp, request);
}

Result<> Client::stop() const { return state_->tell(&Stub::StopBgp, apipb::StopBgpRequest()); }

Result<std::vector<Peer>> Client::peers() const {
  std::vector<Peer> all;
  RETURN_IF_ERROR(state_->list<apipb::ListPeerResponse>(
      [this](auto& context) { return state_->stub->ListPeer(&context, apipb::ListPeerRequest()); },
      [&all](const auto& reply) -> Result<> {
        ASSIGN_OR_RETURN(auto peer, from_message(reply.peer()));
        all.push_back(std::move(peer));
        return {};
      }));
  std::ranges::sort(all, {}, &Peer::address);
  return all;
}

Result<std::vector<Prefix>> Client::dynamic_neighbors() const {
  std::vector<Prefix> all;
  RETURN_IF_ERROR(state_->list<apipb::ListDynamicNeighborResponse>(
      [this](auto& context) {
        return state_->stub->ListDynamicNeighbor(&context, apipb::ListDynamicNeighborRequest());
      },
      [&all](const auto& reply) -> Result<> {
        ASSIGN_OR_RETURN(const auto prefix, Prefix::parse(reply.dynamic_neighbor().prefix()));
        all.push_back(prefix);
        return {};
      }));
  return all;
}

Result<> Client::add_peer(const NewPeer& peer) const {
  apipb::AddPeerRequest request;
  *request.mutable_peer() = to_message(peer);
  return state_->tell(&Stub::AddPeer, request);
}

Result<> Client::remove_peer(const base::IpAddress& address) const {
  apipb::DeletePeerRequest request;
  request.set_address(address.to_string());
  return state_->tell(&Stub::DeletePeer, request);
}

Result<> Client::reset_peer(const base::IpAddress& address) const {
  apipb::ResetPeerRequest request;
  request.set_address(address.to_string());
  return state_->tell(&Stub::ResetPeer, request);
}

Result<> Client::disable_peer(const base::IpAddress& address) const {
  apipb::DisablePeerRequest request;
  request.set_address(address.to_string());
  return state_->tell(&Stub::DisablePeer, request);
}

Result<> Client::enable_peer(const base::IpAddress& address) const {
  apipb::EnablePeerRequest request;
  request.set_address(address.to_string());
  return state_->tell(&Stub::EnablePeer, request);
}

Result<std::vector<Path>> Client::paths(Family family, Table table,
                                        const std::optional<base::IpAddress>& neighbor) const {
  apipb::ListPathRequest request;
  request.set_table_type(to_message(table));
  *request.mutable_family() = to_message(family);
  if (neighbor) request.set_name(neighbor->to_string());
  std::vector<Path> all;
  RETURN_IF_ERROR(state_->list<apipb::ListPathResponse>(
      [&](auto& context) { return state_->stub->ListPath(&context, request); },
      [&all](const auto& reply) -> Result<> {
        for (const auto& message : reply.destination().paths()) {
          ASSIGN_OR_RETURN(auto path, from_message(message));
          if (path) all.push_back(std::move(*path));
        }
        return {};
      }));
  std::ranges::sort(all, {}, [](const Path& path) { return std::tie(path.prefix, path.next_hop); });
  return all;
}

Result<> Client::add_path(const Path& path) const {
  apipb::AddPathRequest request;
  *request.mutable_path() = to_message(path);
  RETURN_IF_ERROR(state_->call(&Stub::AddPath, request));
  return {};
}

Result<> Client::add_paths(const std::vector<Path>& paths) const {
  constexpr std::size_t paths_a_message = 500;
  grpc::ClientContext context;
  context.set_deadline(due(state_->deadline));
  const Interruptible interruptible(context, state_->interrupt_fd);
  google::protobuf::Empty reply;
  const auto writer = state_->stub->AddPathStream(&context, &reply);
  for (std::size_t first = 0; first < paths.size(); first += paths_a_message) {
    apipb::AddPathStreamRequest request;
    const auto end = std::min(paths.size(), first + paths_a_message);
    for (auto i = first; i < end; ++i) *request.add_paths() = to_message(paths[i]);
    // A refusal ends the stream; Finish() says why.
    if (!writer->Write(request)) break;
  }
  writer->WritesDone();
  const auto status = writer->Finish();
  if (!status.ok()) return state_->failed(status);
  return {};
}

Result<> Client::remove_path(const Path& path) const {
  apipb::DeletePathRequest request;
  *request.mutable_path() = to_message(path);
  *request.mutable_family() = to_message(family_of(path.prefix.address));
  return state_->tell(&Stub::DeletePath, request);
}

}  // namespace bgp_peer
