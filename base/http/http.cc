#include "base/http/http.h"

#include <optional>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/url/parse.hpp>

namespace base::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;

constexpr std::uint64_t longest_body = std::uint64_t{1} << 20;

struct Target {
  std::string host;  // without the brackets of an IPv6 address
  std::string port;
  std::string authority;
  std::string path;
};

Result<Target> parse(const std::string& text) {
  const auto url = boost::urls::parse_uri(text);
  if (!url || url->scheme() != "http" || url->host().empty()) {
    return fail(ErrorKind::input, "\"{}\": expected a URL such as http://host:9091", text);
  }
  // It would be sent in the clear, and shown in messages.
  if (url->has_userinfo()) {
    return fail(ErrorKind::input, "{}: a URL with a user is not supported",
                std::string(url->encoded_host_and_port()));
  }
  std::string path(url->encoded_path());
  if (url->has_query()) path += "?" + std::string(url->encoded_query());
  return Target{.host = std::string(url->host_address()),
                .port = url->has_port() && !url->port().empty() ? std::string(url->port()) : "80",
                .authority = std::string(url->encoded_host_and_port()),
                .path = path.empty() ? "/" : path};
}

using Message = beast::http::request<beast::http::string_body>;

Message message_of(const Request& request, const Target& target) {
  Message message(beast::http::string_to_verb(request.method), target.path, 11);
  message.set(beast::http::field::host, target.authority);
  message.set(beast::http::field::user_agent, "stackbench");
  message.set(beast::http::field::connection, "close");
  if (!request.content_type.empty()) {
    message.set(beast::http::field::content_type, request.content_type);
  }
  message.body() = request.body;
  message.prepare_payload();
  return message;
}

// What is done on a connection once there is one. One step after another; whichever fails ends the
// chain.
template <typename Stream>
class Conversation {
 public:
  Conversation(Stream& stream, const Message& message) : stream_(stream), message_(message) {
    answer_.body_limit(longest_body);
  }

  void connected(error_code error) {
    if (error) return fail_at("connect", error);
    beast::http::async_write(stream_, message_, [this](error_code wrong, std::size_t) {
      // A server may answer before it has read everything.
      if (wrong && wrong != asio::error::broken_pipe && wrong != asio::error::connection_reset) {
        return fail_at("sending", wrong);
      }
      read();
    });
  }
  void fail_at(const char* step, error_code error) { failed_ = {step, error}; }

  Result<Response> outcome(const std::string& authority) {
    if (failed_) {
      return fail(ErrorKind::system, "{}: {}: {}", authority, failed_->first,
                  failed_->second.message());
    }
    if (!done_) return fail(ErrorKind::timed_out, "{}: no answer in time", authority);
    return Response{.status = static_cast<int>(answer_.get().result_int()),
                    .body = std::move(answer_.get().body())};
  }

 private:
  void read() {
    beast::http::async_read(stream_, buffer_, answer_, [this](error_code error, std::size_t) {
      if (error) return fail_at("reading the answer", error);
      done_ = true;
    });
  }

  Stream& stream_;
  const Message& message_;
  beast::flat_buffer buffer_;
  beast::http::response_parser<beast::http::string_body> answer_;
  std::optional<std::pair<const char*, error_code>> failed_;
  bool done_ = false;
};

}  // namespace

Result<> check_url(const std::string& url) {
  RETURN_IF_ERROR(parse(url));
  return {};
}

Result<Response> exchange(const Request& request, Duration timeout) {
  ASSIGN_OR_RETURN(const auto target, parse(request.url));
  const auto message = message_of(request, target);
  asio::io_context context;
  asio::ip::tcp::resolver resolver(context);
  beast::tcp_stream stream(context);
  Conversation conversation(stream, message);
  const auto on_connect = [&](error_code error, const asio::ip::tcp::endpoint&) {
    conversation.connected(error);
  };
  const auto on_resolve = [&](error_code error,
                              const asio::ip::tcp::resolver::results_type& endpoints) {
    if (error) return conversation.fail_at("resolving the name", error);
    stream.async_connect(endpoints, on_connect);
  };
  resolver.async_resolve(target.host, target.port, on_resolve);
  context.run_for(timeout);
  return conversation.outcome(target.authority);
}

Result<Response> exchange_at(const std::string& socket, const Request& request, Duration timeout) {
  ASSIGN_OR_RETURN(const auto target, parse(request.url));
  const auto message = message_of(request, target);
  asio::io_context context;
  asio::local::stream_protocol::socket stream(context);
  Conversation conversation(stream, message);
  try {
    stream.async_connect(asio::local::stream_protocol::endpoint(socket),
                         [&](error_code error) { conversation.connected(error); });
  } catch (const boost::system::system_error& error) {
    return fail(ErrorKind::input, "{}: {}", socket, error.what());  // a path that is too long
  }
  context.run_for(timeout);
  return conversation.outcome(socket);
}

}  // namespace base::http
