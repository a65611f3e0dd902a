#include "cluster/kubernetes/http_connection.h"

#include <array>
#include <charconv>
#include <cstring>
#include <memory>
#include <utility>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace cluster {
namespace {

namespace http = boost::beast::http;
using base::ErrorKind;
using base::Result;

constexpr std::size_t chunk_size = std::size_t{64} << 10;

std::string text_of(const HttpRequest& request) {
  // The only name for its socket that kubectl proxy takes without being told.
  std::string text = fmt::format(
      "{} {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: stackbench/{}\r\nAccept: "
      "application/json\r\n",
      request.method, request.target, STACKBENCH_VERSION);
  if (!request.content_type.empty()) {
    text += fmt::format("Content-Type: {}\r\n", request.content_type);
  }
  if (!request.body.empty() || request.method != "GET") {
    text += fmt::format("Content-Length: {}\r\n", request.body.size());
  }
  return text + "\r\n" + request.body;
}

std::optional<int> seconds_of(std::string_view text) {
  int seconds = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (problem != std::errc() || end != text.data() + text.size() || seconds < 0) return {};
  return seconds;
}

std::unexpected<base::Error> closed() {
  return base::fail(ErrorKind::peer_lost, "the connection was closed");
}

}  // namespace

Result<base::UniqueFd> connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return base::fail(ErrorKind::input, "{}: too long for the path of a socket", path);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return base::system_error(errno, "socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) {
      return base::fail(ErrorKind::missing, "{}: nobody listens there", path);
    }
    return base::system_error(errno, "connect {}", path);
  }
  return fd;
}

struct HttpConnection::State {
  using Parser = http::response_parser<http::string_body>;

  base::UniqueFd fd;
  std::string unread = {};  // came, and is not parsed yet
  bool came = false;
  bool ended = false;                   // by the peer
  std::unique_ptr<Parser> parser = {};  // of the answer that is awaited

  // Parses what is there; true once nothing more of it can be made use of.
  Result<> parse() {
    while (!unread.empty() && !parser->is_done()) {
      boost::beast::error_code problem;
      const auto used = parser->put({unread.data(), unread.size()}, problem);
      unread.erase(0, used);
      if (problem == http::error::need_more) return {};
      if (problem) return base::fail(ErrorKind::input, "not HTTP: {}", problem.message());
    }
    return {};
  }

  // Waits for more and parses it.
  Result<> advance(const Until& until) {
    if (ended) return closed();
    RETURN_IF_ERROR(wait_for(fd.get(), POLLIN, until));
    std::array<char, chunk_size> chunk;
    const auto count = ::recv(fd.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    if (count < 0 && errno != ECONNRESET) return base::system_error(errno, "recv");
    if (count <= 0) return end();
    came = true;
    unread.append(chunk.data(), static_cast<std::size_t>(count));
    return parse();
  }

  Result<> end() {
    ended = true;
    if (!came) return closed();
    boost::beast::error_code problem;
    parser->put_eof(problem);
    // An answer whose length nobody said ends so; any other is cut.
    return problem ? closed() : Result<>();
  }
};

HttpConnection::HttpConnection(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpConnection::HttpConnection(HttpConnection&&) noexcept = default;
HttpConnection& HttpConnection::operator=(HttpConnection&&) noexcept = default;
HttpConnection::~HttpConnection() = default;

Result<HttpConnection> HttpConnection::open(const std::string& socket_path) {
  ASSIGN_OR_RETURN(auto fd, connect_unix(socket_path));
  auto state = std::make_unique<State>();
  state->fd = std::move(fd);
  return HttpConnection(std::move(state));
}

Result<> HttpConnection::send(const HttpRequest& request, const Until& until) {
  const std::string text = text_of(request);
  std::string_view left = text;
  state_->came = false;
  state_->parser = std::make_unique<State::Parser>();
  state_->parser->eager(true);
  state_->parser->body_limit(boost::none);
  while (!left.empty()) {
    const auto count =
        ::send(state_->fd.get(), left.data(), left.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      left.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      RETURN_IF_ERROR(wait_for(state_->fd.get(), POLLOUT, until));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return closed();
    } else if (errno != EINTR) {
      return base::system_error(errno, "send");
    }
  }
  return {};
}

Result<HttpHead> HttpConnection::receive_head(const Until& until) {
  auto& parser = *state_->parser;
  while (!parser.is_header_done()) RETURN_IF_ERROR(state_->advance(until));
  const auto& message = parser.get();
  HttpHead head{.status = static_cast<int>(message.result_int()),
                .content_type = std::string(message[http::field::content_type])};
  const auto retry_after = message[http::field::retry_after];
  head.retry_after_seconds = seconds_of({retry_after.data(), retry_after.size()});
  return head;
}

Result<std::optional<std::string>> HttpConnection::receive_some(const Until& until) {
  auto& parser = *state_->parser;
  while (parser.get().body().empty()) {
    if (parser.is_done()) return std::nullopt;
    RETURN_IF_ERROR(state_->advance(until));
  }
  return std::exchange(parser.get().body(), {});
}

Result<std::string> HttpConnection::receive_rest(const Until& until) {
  auto& parser = *state_->parser;
  while (!parser.is_done()) RETURN_IF_ERROR(state_->advance(until));
  return std::exchange(parser.get().body(), {});
}

bool HttpConnection::nothing_came() const { return !state_->came; }

bool HttpConnection::reusable() const {
  const auto& parser = state_->parser;
  return !state_->ended && state_->unread.empty() &&
         (!parser || (parser->is_done() && parser->keep_alive()));
}

}  // namespace cluster
