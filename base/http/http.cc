#include "base/http/http.h"

#include <optional>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
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

}  // namespace

Result<> check_url(const std::string& url) {
  RETURN_IF_ERROR(parse(url));
  return {};
}

Result<Response> exchange(const Request& request, Duration timeout) {
  ASSIGN_OR_RETURN(const auto target, parse(request.url));
  const auto verb = beast::http::string_to_verb(request.method);

  beast::http::request<beast::http::string_body> message(verb, target.path, 11);
  message.set(beast::http::field::host, target.authority);
  message.set(beast::http::field::user_agent, "stackbench");
  message.set(beast::http::field::connection, "close");
  if (!request.content_type.empty()) {
    message.set(beast::http::field::content_type, request.content_type);
  }
  message.body() = request.body;
  message.prepare_payload();

  asio::io_context context;
  asio::ip::tcp::resolver resolver(context);
  beast::tcp_stream stream(context);
  beast::flat_buffer buffer;
  beast::http::response_parser<beast::http::string_body> answer;
  answer.body_limit(longest_body);
  std::optional<std::pair<const char*, error_code>> failed;
  bool done = false;

  // One after another; whichever fails ends the chain.
  const auto on_read = [&](error_code error, std::size_t) {
    if (error) {
      failed = {"reading the answer", error};
    } else {
      done = true;
    }
  };
  const auto on_write = [&](error_code error, std::size_t) {
    // A server may answer before it has read everything.
    if (error && error != asio::error::broken_pipe && error != asio::error::connection_reset) {
      failed = {"sending", error};
      return;
    }
    beast::http::async_read(stream, buffer, answer, on_read);
  };
  const auto on_connect = [&](error_code error, const asio::ip::tcp::endpoint&) {
    if (error) {
      failed = {"connect", error};
      return;
    }
    beast::http::async_write(stream, message, on_write);
  };
  const auto on_resolve = [&](error_code error,
                              const asio::ip::tcp::resolver::results_type& endpoints) {
    if (error) {
      failed = {"resolving the name", error};
      return;
    }
    stream.async_connect(endpoints, on_connect);
  };
  resolver.async_resolve(target.host, target.port, on_resolve);
  context.run_for(timeout);

  if (failed) {
    return fail(ErrorKind::system, "{}: {}: {}", target.authority, failed->first,
                failed->second.message());
  }
  if (!done) return fail(ErrorKind::timed_out, "{}: no answer in time", target.authority);
  return Response{.status = static_cast<int>(answer.get().result_int()),
                  .body = std::move(answer.get().body())};
}

}  // namespace base::http
