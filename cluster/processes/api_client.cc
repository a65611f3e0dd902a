#include "cluster/processes/api_client.h"

#include <optional>
#include <tuple>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

namespace cluster::processes {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using base::ErrorKind;
using base::Result;
using boost::system::error_code;

constexpr std::uint64_t longest_body = std::uint64_t{16} << 20;
constexpr const char* json_type = "application/json";
constexpr base::Duration default_patience = std::chrono::seconds(5);

std::string words_of(const ApiClient::Response& response) {
  const auto json = base::parse_json(response.body);
  if (json && json->is_object() && json->contains("message") && (*json)["message"].is_string()) {
    return (*json)["message"].get<std::string>();
  }
  return response.body.substr(0, 200);
}

// One exchange, a step after the other; whichever fails ends the chain.
struct Exchange {
  asio::io_context context;
  beast::ssl_stream<beast::tcp_stream> stream;
  beast::http::request<beast::http::string_body> message;
  beast::flat_buffer buffer;
  beast::http::response_parser<beast::http::string_body> answer;
  std::optional<std::pair<const char*, error_code>> failed;
  bool done = false;

  explicit Exchange(asio::ssl::context& tls) : stream(context, tls) {
    answer.body_limit(longest_body);
  }

  bool went_wrong(const char* step, error_code error) {
    if (error) failed = {step, error};
    return error.failed();
  }
  void start(std::uint16_t port) {
    const asio::ip::tcp::endpoint server(asio::ip::address_v4::loopback(), port);
    beast::get_lowest_layer(stream).async_connect(server, [this](error_code error) {
      if (went_wrong("connect", error)) return;
      stream.async_handshake(asio::ssl::stream_base::client, [this](error_code refused) {
        if (went_wrong("TLS", refused)) return;
        beast::http::async_write(stream, message, [this](error_code cut, std::size_t) {
          if (went_wrong("sending", cut)) return;
          read();
        });
      });
    });
  }
  void read() {
    beast::http::async_read(stream, buffer, answer, [this](error_code error, std::size_t) {
      done = !went_wrong("reading the answer", error);
    });
  }
};

}  // namespace

struct ApiClient::Tls {
  asio::ssl::context context{asio::ssl::context::tls_client};
};

ApiClient::ApiClient(std::uint16_t port, std::unique_ptr<Tls> tls)
    : port_(port), tls_(std::move(tls)) {}
ApiClient::ApiClient(ApiClient&&) noexcept = default;
ApiClient::~ApiClient() = default;

Result<ApiClient> ApiClient::create(std::uint16_t port, const std::string& authority,
                                    const pki::KeyPair& client) {
  auto tls = std::make_unique<Tls>();
  error_code error;
  const auto step = [&error](auto&& call) {
    if (!error) call();
  };
  step([&] { std::ignore = tls->context.set_verify_mode(asio::ssl::verify_peer, error); });
  step([&] {
    std::ignore = tls->context.add_certificate_authority(asio::buffer(authority), error);
  });
  step([&] {
    std::ignore = tls->context.use_certificate_chain(asio::buffer(client.certificate), error);
  });
  step([&] {
    std::ignore =
        tls->context.use_private_key(asio::buffer(client.key), asio::ssl::context::pem, error);
  });
  step([&] {
    std::ignore =
        tls->context.set_verify_callback(asio::ssl::host_name_verification("127.0.0.1"), error);
  });
  if (error) return base::fail(ErrorKind::system, "the API server's client: {}", error.message());
  return ApiClient(port, std::move(tls));
}

Result<ApiClient::Response> ApiClient::request(const std::string& method, const std::string& path,
                                               const std::string& body,
                                               base::Duration timeout) const {
  return send(method, path, json_type, body, timeout);
}

Result<ApiClient::Response> ApiClient::send(const std::string& method, const std::string& path,
                                            const std::string& content_type,
                                            const std::string& body, base::Duration timeout) const {
  Exchange exchange(tls_->context);
  exchange.message = {beast::http::string_to_verb(method), path, 11};
  exchange.message.set(beast::http::field::host, fmt::format("127.0.0.1:{}", port_));
  exchange.message.set(beast::http::field::user_agent, "stackbench");
  exchange.message.set(beast::http::field::connection, "close");
  if (!body.empty()) exchange.message.set(beast::http::field::content_type, content_type);
  exchange.message.body() = body;
  exchange.message.prepare_payload();
  exchange.start(port_);
  exchange.context.run_for(timeout);
  if (exchange.failed) {
    return base::fail(ErrorKind::system, "the API server: {}: {}", exchange.failed->first,
                      exchange.failed->second.message());
  }
  if (!exchange.done) return base::fail(ErrorKind::timed_out, "the API server: no answer in time");
  return Response{.status = static_cast<int>(exchange.answer.get().result_int()),
                  .body = std::move(exchange.answer.get().body())};
}

Result<base::Json> ApiClient::get(const std::string& path) const {
  ASSIGN_OR_RETURN(const auto response, request("GET", path));
  if (response.status == 200) return base::parse_json(response.body);
  return base::fail(response.status == 404 ? ErrorKind::missing : ErrorKind::system,
                    "GET {}: {}: {}", path, response.status, words_of(response));
}

Result<> ApiClient::create_object(const std::string& path, const base::Json& object) const {
  return create(path, json_type, base::dump_json(object));
}

Result<> ApiClient::create_from_yaml(const std::string& path, const std::string& text) const {
  return create(path, "application/yaml", text);
}

Result<> ApiClient::create(const std::string& path, const std::string& content_type,
                           const std::string& body) const {
  ASSIGN_OR_RETURN(const auto response, send("POST", path, content_type, body, default_patience));
  constexpr int created = 201;
  constexpr int conflict = 409;
  if (response.status == created || response.status == conflict) return {};
  return base::fail(ErrorKind::system, "POST {}: {}: {}", path, response.status,
                    words_of(response));
}

}  // namespace cluster::processes
