#include "cluster/kubernetes/testing/fake_api_server.h"

#include <array>
#include <atomic>
#include <filesystem>
#include <thread>
#include <tuple>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <boost/url/parse.hpp>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/testing/fake_store.h"

namespace cluster::testing {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
using asio::local::stream_protocol;
using base::Json;
using boost::system::error_code;
using Request = http::request<http::string_body>;

Json status_of(int code, const std::string& message) {
  return {{"kind", "Status"}, {"status", "Failure"}, {"message", message}, {"code", code}};
}

// The parts of a request's target.
struct Asked {
  std::string path;
  std::map<std::string, std::vector<std::string>> query;

  static Asked parse(const std::string& target) {
    Asked asked;
    const auto url = boost::urls::parse_origin_form(target);
    if (!url) return asked;
    asked.path = std::string(url->encoded_path());
    for (const auto& one : url->params()) asked.query[one.key].push_back(one.value);
    return asked;
  }
  [[nodiscard]] std::string one(const std::string& name) const {
    const auto found = query.find(name);
    return found == query.end() ? std::string() : found->second.front();
  }
};

class WebSocketExec : public ExecSession {
 public:
  WebSocketExec(stream_protocol::socket& socket, std::string pod, std::vector<std::string> command)
      : stream_(socket), pod_(std::move(pod)), command_(std::move(command)) {}

  bool accept(const Request& request, const std::string& protocol) {
    stream_.set_option(websocket::stream_base::decorator([&](websocket::response_type& answer) {
      answer.set(http::field::sec_websocket_protocol, protocol);
    }));
    error_code problem;
    stream_.accept(request, problem);
    stream_.binary(true);
    return !problem;
  }

  [[nodiscard]] const std::vector<std::string>& command() const override { return command_; }
  [[nodiscard]] const std::string& pod() const override { return pod_; }

  // As an API server reads: each frame is a message, one that continues another as well.
  std::optional<std::string> read() override {
    while (const auto frame = read_frame()) {
      const auto& [opcode, text] = *frame;
      error_code ignored;
      if (opcode == ping) stream_.pong({}, ignored);
      if (opcode > binary) {
        if (opcode == close) return std::nullopt;
        continue;
      }
      if (text.empty() || text[0] != 0) return std::nullopt;  // 255: stdin is closed
      return text.substr(1);
    }
    return std::nullopt;
  }
  void write_out(std::string_view text) override { write(1, text); }
  void write_err(std::string_view text) override { write(2, text); }
  void exit(int code) override {
    Json status = {{"status", "Success"}};
    if (code != 0) {
      status = status_of(500, "command terminated with non-zero exit code");
      status["details"]["causes"] =
          Json::array({{{"reason", "ExitCode"}, {"message", std::to_string(code)}}});
    }
    write(3, base::dump_json(status));
    error_code ignored;
    stream_.close(websocket::close_code::normal, ignored);
  }
  void cut() override {
    error_code ignored;
    std::ignore = stream_.next_layer().close(ignored);
  }

 private:
  // RFC 6455, 5.2.
  enum Opcode : unsigned char { binary = 2, close = 8, ping = 9 };
  struct Frame {
    unsigned char opcode = 0;
    std::string payload;
  };

  std::optional<std::string> read_bytes(std::size_t size) {
    std::string bytes(size, '\0');
    error_code problem;
    asio::read(stream_.next_layer(), asio::buffer(bytes), problem);
    if (problem) return std::nullopt;
    return bytes;
  }
  std::optional<Frame> read_frame() {
    const auto head = read_bytes(2);
    if (!head) return std::nullopt;
    std::size_t size = static_cast<unsigned char>((*head)[1]) & 0x7fU;
    if (size > 125) {
      const auto longer = read_bytes(size == 126 ? 2 : 8);
      if (!longer) return std::nullopt;
      size = 0;
      for (const char byte : *longer) size = size << 8 | static_cast<unsigned char>(byte);
    }
    const auto mask = read_bytes(4);  // a client always has one
    auto payload = mask ? read_bytes(size) : std::nullopt;
    if (!payload) return std::nullopt;
    for (std::size_t i = 0; i < size; ++i) {
      (*payload)[i] = static_cast<char>((*payload)[i] ^ (*mask)[i % 4]);
    }
    return Frame{static_cast<unsigned char>((*head)[0] & 0x0f), *std::move(payload)};
  }

  void write(char channel, std::string_view text) {
    const std::string message = channel + std::string(text);
    error_code ignored;
    stream_.write(asio::buffer(message), ignored);
  }

  websocket::stream<stream_protocol::socket&> stream_;
  std::string pod_;
  std::vector<std::string> command_;
};

// Stands in for kubectl. Whatever else it is told it repeats, and it fails for one context.
constexpr std::string_view kubectl_text =
    "#!/bin/sh\n"
    "for word in \"$@\"; do case $word in\n"
    "  --context=nowhere) echo 'error: context \"nowhere\" does not exist' >&2; exit 1;;\n"
    "  --unix-socket=*) ln -s {} \"${{word#--unix-socket=}}\" || exit 1\n"
    "    echo \"Starting to serve on ${{word#--unix-socket=}}\"; exec tail -f /dev/null;;\n"
    "  exec) echo \"$@\" >&2; exec cat;;\n"
    "esac; done\n";

}  // namespace

class FakeApiServer::Impl {
 public:
  Impl() {
    directory_ = (std::filesystem::temp_directory_path() / "fake-api-XXXXXX").string();
    if (::mkdtemp(directory_.data()) == nullptr) std::abort();
    socket_ = directory_ + "/api.sock";
    kubectl_ = directory_ + "/kubectl";
    if (!base::write_file(kubectl_, fmt::format(kubectl_text, socket_))) std::abort();
    ::chmod(kubectl_.c_str(), 0700);
    acceptor_.open();
    acceptor_.bind(socket_);
    acceptor_.listen();
    thread_ = std::jthread([this] { accept(); });
  }

  ~Impl() {
    store.stop();
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
    thread_.join();
    {
      const std::lock_guard lock(mutex);
      for (const auto& socket : open_) ::shutdown(socket->native_handle(), SHUT_RDWR);
    }
    threads_.clear();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  [[nodiscard]] const std::string& socket() const { return socket_; }
  [[nodiscard]] const std::string& kubectl() const { return kubectl_; }

  FakeStore store;
  mutable std::mutex mutex;  // guards what follows
  mutable std::condition_variable came;
  std::vector<CannedAnswer> canned;
  std::vector<std::string> requests;
  std::string exec_protocol = "v5.channel.k8s.io";
  std::function<void(ExecSession&)> exec;
  int connections = 0;

 private:
  void accept() {
    while (true) {
      auto socket = std::make_shared<stream_protocol::socket>(context_);
      error_code problem;
      if (acceptor_.accept(*socket, problem)) return;
      const std::lock_guard lock(mutex);
      ++connections;
      open_.push_back(socket);
      threads_.emplace_back([this, socket] { serve(*socket); });
    }
  }

  void serve(stream_protocol::socket& socket) {
    beast::flat_buffer buffer;
    while (true) {
      Request request;
      error_code problem;
      http::read(socket, buffer, request, problem);
      if (problem || !answer(socket, request)) break;
    }
    // Not closed: its descriptor is the destructor's to shut down.
    ::shutdown(socket.native_handle(), SHUT_RDWR);
  }

  std::optional<CannedAnswer> take_canned(const std::string& line) {
    const std::lock_guard lock(mutex);
    requests.push_back(line);
    came.notify_all();
    for (auto& one : canned) {
      const bool meant = one.exact ? line == one.when : line.find(one.when) != std::string::npos;
      if (one.times > 0 && meant) {
        --one.times;
        return one;
      }
    }
    return std::nullopt;
  }

  // False where the connection is over.
  bool answer(stream_protocol::socket& socket, const Request& request) {
    const std::string target(request.target());
    const auto line = fmt::format("{} {}", std::string(request.method_string()), target);
    if (const auto one = take_canned(line)) {
      if (one->closes) return false;
      if (one->delay.count() > 0) std::this_thread::sleep_for(one->delay);
      if (one->status != 0) {
        return respond(socket, one->status, one->body, one->content_type, one->retry_after);
      }
    }
    const auto asked = Asked::parse(target);
    const auto path = ResourcePath::parse(asked.path);
    if (path.subresource == "exec") return serve_exec(socket, request, path, asked);
    if (asked.one("watch") == "true") return serve_watch(socket, path, asked);
    if (asked.path == "/version") return respond(socket, 200, {{"gitVersion", "v1.33.6"}});
    if (path.resource == "selfsubjectaccessreviews") {
      return respond(socket, 201, {{"status", {{"allowed", true}}}});
    }
    if (request.method() == http::verb::get) return serve_get(socket, path, asked);
    return serve_write(socket, request, path, asked);
  }

  bool serve_get(stream_protocol::socket& socket, const ResourcePath& path, const Asked& asked) {
    if (path.name.empty() && !path.resource.empty()) {
      return respond(socket, 200,
                     store.list(path, asked.one("labelSelector"), asked.one("fieldSelector")));
    }
    const auto found = store.find(path);
    if (found.is_null() || !path.subresource.empty()) {
      return respond(socket, 404, status_of(404, asked.path + " not found"));
    }
    return respond(socket, 200, found);
  }

  bool serve_write(stream_protocol::socket& socket, const Request& request,
                   const ResourcePath& path, const Asked& asked) {
    if (request.method() == http::verb::delete_) {
      if (path.name.empty()) {
        store.remove_collection(path, asked.one("labelSelector"));
        return respond(socket, 200, {{"status", "Success"}});
      }
      if (!store.remove(path)) return respond(socket, 404, status_of(404, "not found"));
      return respond(socket, 200, {{"status", "Success"}});
    }
    const auto body = base::parse_json(request.body());
    if (!body) return respond(socket, 400, status_of(400, body.error().message));
    if (path.subresource == "status") {
      const auto changed = store.patch_status(path, *body);
      if (changed.is_null()) return respond(socket, 404, status_of(404, "not found"));
      return respond(socket, 200, changed);
    }
    return respond(socket, 200, store.apply(path, *body));
  }

  bool serve_watch(stream_protocol::socket& socket, const ResourcePath& path, const Asked& asked) {
    auto version = std::stoull(asked.one("resourceVersion"));
    const std::string head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    error_code problem;
    asio::write(socket, asio::buffer(head), problem);
    const auto send = [&](const Json& event) {
      const auto text = base::dump_json(event) + "\n";
      const auto chunk = fmt::format("{:x}\r\n{}\r\n", text.size(), text);
      if (!problem) asio::write(socket, asio::buffer(chunk), problem);
    };
    while (!problem) {
      bool gone = false;
      const auto events = store.events_after(version, gone);
      if (gone) send({{"type", "ERROR"}, {"object", status_of(410, "too old resource version")}});
      if (!events) break;
      for (const auto& event : *events) {
        version = event.version;
        if (!path.holds(event.path) ||
            !fits(event.object, asked.one("labelSelector"), asked.one("fieldSelector"))) {
          continue;
        }
        send({{"type", event.type}, {"object", event.object}});
      }
      send({{"type", "BOOKMARK"},
            {"object", {{"metadata", {{"resourceVersion", std::to_string(version)}}}}}});
    }
    const std::string end = "0\r\n\r\n";
    if (!problem) asio::write(socket, asio::buffer(end), problem);
    return false;
  }

  bool serve_exec(stream_protocol::socket& socket, const Request& request, const ResourcePath& path,
                  const Asked& asked) {
    std::function<void(ExecSession&)> handler;
    std::string protocol;
    {
      const std::lock_guard lock(mutex);
      handler = exec;
      protocol = exec_protocol;
    }
    if (store.find(path).is_null()) {
      return respond(socket, 404, status_of(404, "pods \"" + path.name + "\" not found"));
    }
    if (protocol.empty() || !websocket::is_upgrade(request)) {
      return respond(socket, 400, status_of(400, "Upgrade request required"));
    }
    WebSocketExec session(socket, path.name, asked.query.at("command"));
    if (session.accept(request, protocol) && handler) handler(session);
    return false;
  }

  static bool respond(stream_protocol::socket& socket, int code, const Json& body) {
    return respond(socket, code, base::dump_json(body), "application/json", {});
  }

  static bool respond(stream_protocol::socket& socket, int code, const std::string& body,
                      const std::string& content_type, std::optional<int> retry_after) {
    http::response<http::string_body> answer;
    answer.result(static_cast<unsigned>(code));
    answer.set(http::field::content_type, content_type);
    if (retry_after) answer.set(http::field::retry_after, std::to_string(*retry_after));
    answer.body() = body;
    answer.prepare_payload();
    error_code problem;
    http::write(socket, answer, problem);
    return !problem;
  }

  std::string directory_;
  std::string socket_;
  std::string kubectl_;
  asio::io_context context_;
  stream_protocol::acceptor acceptor_{context_};
  std::vector<std::shared_ptr<stream_protocol::socket>> open_;  // guarded by mutex
  std::vector<std::jthread> threads_;                           // made by the accepting thread only
  std::jthread thread_;
};

FakeApiServer::FakeApiServer() : impl_(std::make_unique<Impl>()) {}
FakeApiServer::~FakeApiServer() = default;

const std::string& FakeApiServer::socket() const { return impl_->socket(); }
const std::string& FakeApiServer::kubectl() const { return impl_->kubectl(); }

void FakeApiServer::put(const std::string& path, const Json& object) {
  impl_->store.apply(ResourcePath::parse(path), object);
}
void FakeApiServer::erase(const std::string& path) {
  impl_->store.remove(ResourcePath::parse(path));
}
Json FakeApiServer::object(const std::string& path) const {
  return impl_->store.find(ResourcePath::parse(path));
}

void FakeApiServer::add_node(const std::string& name, const std::string& address) {
  put("/api/v1/nodes/" + name,
      {{"metadata", {{"name", name}}},
       {"spec", {{"podCIDRs", {"10.244.0.0/24", "fd00:10:244::/64"}}}},
       {"status",
        {{"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})},
         {"addresses", Json::array({{{"type", "InternalIP"}, {"address", address}}})},
         {"nodeInfo",
          {{"kernelVersion", "6.1.0"},
           {"osImage", "Debian GNU/Linux 12"},
           {"containerRuntimeVersion", "containerd://1.6.20"},
           {"kubeletVersion", "v1.33.6"}}}}}});
}

void FakeApiServer::answer_with(CannedAnswer answer) {
  const std::lock_guard lock(impl_->mutex);
  impl_->canned.push_back(std::move(answer));
}
void FakeApiServer::drop_watches() { impl_->store.drop_watches(); }
void FakeApiServer::forget_history() { impl_->store.forget_history(); }
void FakeApiServer::set_pod_fate(PodFate fate) { impl_->store.set_pod_fate(fate); }
void FakeApiServer::set_balancer(bool there) { impl_->store.set_balancer(there); }
void FakeApiServer::set_injects_proxies(bool injects) { impl_->store.set_injects_proxies(injects); }
void FakeApiServer::set_follows_readiness(bool follows) {
  impl_->store.set_follows_readiness(follows);
}
void FakeApiServer::set_exec_protocol(std::string protocol) {
  const std::lock_guard lock(impl_->mutex);
  impl_->exec_protocol = std::move(protocol);
}
void FakeApiServer::on_exec(std::function<void(ExecSession&)> handler) {
  const std::lock_guard lock(impl_->mutex);
  impl_->exec = std::move(handler);
}

std::vector<std::string> FakeApiServer::requests() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->requests;
}

int FakeApiServer::count(const std::string& part) const {
  int found = 0;
  for (const auto& line : requests()) found += line.find(part) == std::string::npos ? 0 : 1;
  return found;
}

bool FakeApiServer::await_requests(const std::string& part, int wanted) const {
  std::unique_lock lock(impl_->mutex);
  return impl_->came.wait_for(lock, std::chrono::seconds(5), [&] {
    int found = 0;
    for (const auto& line : impl_->requests) found += line.find(part) == std::string::npos ? 0 : 1;
    return found >= wanted;
  });
}

int FakeApiServer::connections() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->connections;
}

}  // namespace cluster::testing
