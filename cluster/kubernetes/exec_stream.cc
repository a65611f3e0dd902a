#include "cluster/kubernetes/exec_stream.h"

#include <array>
#include <atomic>
#include <mutex>
#include <span>
#include <thread>
#include <tuple>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "cluster/agent_errors.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/http_connection.h"

namespace cluster {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
using asio::local::stream_protocol;
using base::ErrorKind;
using base::Json;
using base::Result;
using base::UniqueFd;
using boost::system::error_code;

constexpr std::string_view wanted_protocols = "v5.channel.k8s.io, v4.channel.k8s.io";
constexpr std::string_view with_close = "v5.channel.k8s.io";
// Pings go out after half of it, so a stream that was cut is noticed; an API server that stalls for
// a few seconds is not taken for one.
constexpr auto idle_limit = std::chrono::seconds(20);
constexpr std::size_t largest_message = std::size_t{4} << 20;
constexpr std::size_t chunk_size = std::size_t{32} << 10;

// The first byte of every message says which stream the rest belongs to.
enum class Channel : unsigned char { in = 0, out = 1, err = 2, status = 3, close = 255 };

// What the controller's thread is told: both sides hold it.
struct Shared {
  UniqueFd settled{::eventfd(0, EFD_CLOEXEC)};
  std::mutex mutex;
  // Of the handshake; all guarded by mutex.
  error_code problem = {};
  int status = 0;
  std::string body = {};
  std::string ending = {};  // how the program ended; empty while nobody knows

  void settle() const {
    const std::uint64_t one = 1;
    std::ignore = ::write(settled.get(), &one, sizeof(one));
  }
  std::string how_it_ended() {
    const std::lock_guard lock(mutex);
    return ending;
  }
  // The first word counts: what comes after it is the streams' falling apart.
  void end(std::string how) {
    const std::lock_guard lock(mutex);
    if (ending.empty()) ending = std::move(how);
  }
};

// One exec: everything in it runs in the thread.
class Bridge : public std::enable_shared_from_this<Bridge> {
 public:
  Bridge(asio::io_context& context, std::shared_ptr<Shared> shared, UniqueFd server, UniqueFd in,
         UniqueFd out, int errors)
      : shared_(std::move(shared)),
        socket_(stream_protocol::socket(context, stream_protocol(), server.release())),
        in_(context, stream_protocol(), in.release()),
        out_(context, stream_protocol(), out.release()),
        errors_(::fcntl(errors, F_DUPFD_CLOEXEC, 3)) {}

  void begin(const std::string& target) {
    auto timeout = websocket::stream_base::timeout::suggested(beast::role_type::client);
    timeout.idle_timeout = idle_limit;
    timeout.keep_alive_pings = true;
    socket_.set_option(timeout);
    socket_.set_option(websocket::stream_base::decorator([](websocket::request_type& request) {
      request.set(http::field::sec_websocket_protocol, wanted_protocols);
      request.set(http::field::user_agent, "stackbench");
    }));
    socket_.binary(true);
    // The API server takes each frame for a message and its first byte for a channel's number
    // (golang.org/x/net/websocket, Message.Receive): a message of several would lose its bytes.
    socket_.auto_fragment(false);
    socket_.read_message_max(largest_message);
    socket_.async_handshake(
        answer_, "localhost", target,
        [self = shared_from_this()](error_code problem) { self->on_handshake(problem); });
  }

 private:
  void on_handshake(error_code problem) {
    closes_stdin_ = answer_[http::field::sec_websocket_protocol] == with_close;
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->problem = problem;
      shared_->status = static_cast<int>(answer_.result_int());
      shared_->body = answer_.body();
    }
    shared_->settle();
    if (problem) return finish();
    read_controller();
    read_server();
  }

  void read_controller() {
    outgoing_[0] = static_cast<unsigned char>(Channel::in);
    in_.async_read_some(asio::buffer(outgoing_.data() + 1, outgoing_.size() - 1),
                        [self = shared_from_this()](error_code problem, std::size_t size) {
                          if (!problem) return self->send(size + 1);
                          if (problem == asio::error::operation_aborted) return;
                          self->stdin_closed();
                        });
  }

  void send(std::size_t size) {
    socket_.async_write(asio::buffer(outgoing_.data(), size),
                        [self = shared_from_this()](error_code problem, std::size_t) {
                          if (problem) return self->broken(problem);
                          self->read_controller();
                        });
  }

  // The newer protocol can say so; with the older one only the end of all streams ends stdin.
  void stdin_closed() {
    if (!closes_stdin_) return finish();
    outgoing_[0] = static_cast<unsigned char>(Channel::close);
    outgoing_[1] = static_cast<unsigned char>(Channel::in);
    socket_.async_write(asio::buffer(outgoing_.data(), 2),
                        [self = shared_from_this()](error_code problem, std::size_t) {
                          if (problem) self->broken(problem);
                        });
  }

  void read_server() {
    incoming_.clear();
    socket_.async_read(incoming_, [self = shared_from_this()](error_code problem, std::size_t) {
      if (problem) return self->broken(problem);
      self->take();
    });
  }

  void take() {
    const auto data = incoming_.data();
    const std::span bytes(static_cast<const char*>(data.data()), data.size());
    if (bytes.empty()) return read_server();
    const auto rest = bytes.subspan(1);
    switch (static_cast<Channel>(static_cast<unsigned char>(bytes[0]))) {
      case Channel::out:
        return pass_on(rest);
      case Channel::err:
        // Full once 64 KiB are in it: the rest is not kept.
        std::ignore = ::write(errors_.get(), rest.data(), rest.size());
        break;
      case Channel::status:
        shared_->end(ending_of({rest.data(), rest.size()}));
        break;
      case Channel::in:
      case Channel::close:
        break;
    }
    read_server();
  }

  void pass_on(std::span<const char> bytes) {
    asio::async_write(out_, asio::buffer(bytes.data(), bytes.size()),
                      [self = shared_from_this()](error_code problem, std::size_t) {
                        // Nobody reads any more: the program is not wanted any more.
                        if (problem) return self->finish();
                        self->read_server();
                      });
  }

  void broken(error_code problem) {
    if (problem == asio::error::operation_aborted) return;
    // After a proper end this changes nothing.
    shared_->end(fmt::format("its stream was cut: {}", problem.message()));
    finish();
  }

  void finish() {
    error_code ignored;
    std::ignore = socket_.next_layer().close(ignored);
    std::ignore = in_.close(ignored);
    std::ignore = out_.close(ignored);
  }

  std::shared_ptr<Shared> shared_;
  websocket::stream<stream_protocol::socket, false> socket_;
  stream_protocol::socket in_;
  stream_protocol::socket out_;
  UniqueFd errors_;
  websocket::response_type answer_;
  bool closes_stdin_ = false;
  std::array<unsigned char, chunk_size> outgoing_{};
  beast::flat_buffer incoming_;
};

struct Pair {
  UniqueFd ours;
  UniqueFd theirs;
};

Result<Pair> make_pair_of_sockets() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) {
    return base::system_error(errno, "socketpair");
  }
  return Pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// An answer that is about WebSocket, not about this exec.
bool refuses_websocket(int status, const Json& body) {
  if (status == 403 || status == 401 || status == 404 || status == 409) return false;
  if (status == 429 || status >= 500) return false;
  const auto words = status_message(body);
  return status != 400 || words.find("pgrade") != std::string::npos;
}

}  // namespace

std::string exec_target(const ExecRequest& request) {
  auto target = fmt::format(
      "/api/v1/namespaces/{}/pods/{}/exec?container={}&stdin=true&stdout=true&stderr=true",
      request.in_namespace, request.pod, request.container);
  for (const auto& word : request.command) target += "&command=" + url_escape(word);
  return target;
}

std::string ending_of(std::string_view status) {
  const auto parsed = base::parse_json(status);
  if (!parsed) return std::string(status);
  if (text_at(*parsed, {"status"}) == "Success") return "exit code 0";
  if (const auto& causes = json_at(*parsed, {"details", "causes"}); causes.is_array()) {
    for (const auto& cause : causes) {
      if (text_at(cause, {"reason"}) == "ExitCode") {
        return "exit code " + text_at(cause, {"message"});
      }
    }
  }
  return status_message(*parsed);
}

struct ExecStreams::State {
  explicit State(std::string path) : socket(std::move(path)) {}

  std::string socket;
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  std::jthread thread{[this] { context.run(); }};
};

ExecStreams::ExecStreams(std::string socket) : state_(std::make_unique<State>(std::move(socket))) {}

ExecStreams::~ExecStreams() {
  state_->context.stop();
  state_->thread.join();
}

Result<std::optional<AgentStreams>> ExecStreams::open(const ExecRequest& request,
                                                      const Until& until) {
  ASSIGN_OR_RETURN(auto server, connect_unix(state_->socket));
  ASSIGN_OR_RETURN(auto in, make_pair_of_sockets());
  ASSIGN_OR_RETURN(auto out, make_pair_of_sockets());
  AgentStreams streams;
  ASSIGN_OR_RETURN(streams.errors, bounded_errors_file());
  const auto shared = std::make_shared<Shared>();
  const auto target = exec_target(request);
  const auto bridge =
      std::make_shared<Bridge>(state_->context, shared, std::move(server), std::move(in.theirs),
                               std::move(out.theirs), streams.errors.get());
  asio::post(state_->context, [bridge, target] { bridge->begin(target); });

  RETURN_IF_ERROR(wait_for(shared->settled.get(), POLLIN, until));
  const std::lock_guard lock(shared->mutex);
  const auto what = fmt::format("exec in {}/{}", request.in_namespace, request.pod);
  if (shared->problem == websocket::error::upgrade_declined) {
    const auto parsed = base::parse_json(shared->body);
    const Json body = parsed ? *parsed : Json(shared->body);
    if (refuses_websocket(shared->status, body)) return std::nullopt;
    return std::unexpected(api_error(what, shared->status, body));
  }
  if (shared->problem) {
    return base::fail(ErrorKind::peer_lost, "{}: {}", what, shared->problem.message());
  }
  streams.to_agent = std::move(in.ours);
  streams.from_agent = std::move(out.ours);
  streams.how_it_ended = [shared] { return shared->how_it_ended(); };
  return streams;
}

}  // namespace cluster
