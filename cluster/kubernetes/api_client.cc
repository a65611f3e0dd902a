#include "cluster/kubernetes/api_client.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::Duration;
using base::ErrorKind;
using base::Json;
using base::Result;

// Between tries where the server does not say how long to leave it alone; doubles up to a second.
constexpr Duration first_pause = std::chrono::milliseconds(50);
constexpr Duration longest_pause = std::chrono::seconds(1);

constexpr int too_many_requests = 429;

bool asks_to_come_back(int status) { return status == too_many_requests || status >= 500; }

std::string name_of(const HttpRequest& request) {
  return fmt::format("{} {}", request.method, request.target.substr(0, request.target.find('?')));
}

}  // namespace

std::uint64_t ApiAnswer::resource_version() const {
  const auto text = text_at(body, {"metadata", "resourceVersion"});
  std::uint64_t version = 0;
  std::from_chars(text.data(), text.data() + text.size(), version);
  return version;
}

Result<ApiAnswer> ApiClient::attempt(const HttpRequest& request, const Until& until) {
  if (!connection_) {
    ASSIGN_OR_RETURN(connection_, HttpConnection::open(options_.socket));
  }
  ++requests_;
  ApiAnswer answer{.sent_ns = base::monotonic_now().ns};
  RETURN_IF_ERROR(connection_->send(request, until));
  ASSIGN_OR_RETURN(const auto head, connection_->receive_head(until));
  ASSIGN_OR_RETURN(std::string body, connection_->receive_rest(until));
  answer.acked_ns = base::monotonic_now().ns;
  answer.status = head.status;
  if (!connection_->reusable()) connection_.reset();
  auto parsed = base::parse_json(body);
  answer.body = parsed ? std::move(*parsed) : Json(std::move(body));
  answer.retry_after_seconds = head.retry_after_seconds.value_or(status_retry_after(answer.body));
  return answer;
}

Result<ApiAnswer> ApiClient::request(const HttpRequest& request) {
  const auto until = Until::after(options_.timeout, options_.interrupt);
  Duration pause = first_pause;
  // Of the first try that may have been carried out: one without an answer may have been, one that
  // was told to come back later was not.
  std::optional<std::int64_t> sent_ns;
  for (int tries = 1;; ++tries) {
    const bool kept = connection_.has_value();
    const auto now_ns = base::monotonic_now().ns;
    auto answer = attempt(request, until);
    if (!sent_ns && (!answer || answer->status != too_many_requests)) sent_ns = now_ns;
    if (answer && sent_ns) answer->sent_ns = *sent_ns;
    if (!answer) {
      // A server may close a connection it kept at any time; another is tried at once.
      const bool stale = kept && connection_ && connection_->nothing_came();
      connection_.reset();
      auto& error = answer.error();
      if (error.kind != ErrorKind::peer_lost || until.passed()) {
        return base::in_context(std::move(error), "{}", name_of(request));
      }
      if (stale) continue;
    } else if (!asks_to_come_back(answer->status)) {
      answer->tries = tries;
      return answer;
    }
    Duration wanted = pause;
    if (answer) {
      const auto asked = std::chrono::seconds(answer->retry_after_seconds);
      if (asked.count() > 0) wanted = asked;
      if (base::monotonic_now() + wanted >= until.deadline) {
        answer->tries = tries;
        return answer;
      }
    }
    RETURN_IF_ERROR(let_pass(wanted, until));
    pause = std::min(pause * 2, longest_pause);
  }
}

Result<ApiAnswer> ApiClient::request_once(const HttpRequest& request) {
  auto answer = attempt(request, Until::after(options_.timeout, options_.interrupt));
  if (!answer) connection_.reset();
  return answer;
}

Result<ApiAnswer> ApiClient::checked(const HttpRequest& request) {
  ASSIGN_OR_RETURN(auto answer, this->request(request));
  if (answer.success()) return answer;
  return std::unexpected(api_error(name_of(request), answer.status, answer.body));
}

Result<Json> ApiClient::get(const std::string& path) {
  ASSIGN_OR_RETURN(auto answer, checked({.target = path}));
  return std::move(answer.body);
}

Result<std::optional<Json>> ApiClient::find(const std::string& path) {
  ASSIGN_OR_RETURN(auto answer, request({.target = path}));
  if (answer.status == 404) return std::nullopt;
  if (answer.success()) return std::move(answer.body);
  return std::unexpected(api_error("GET " + path, answer.status, answer.body));
}

Result<ApiAnswer> ApiClient::apply(const std::string& path, const Json& object) {
  return checked({.method = "PATCH",
                  .target = fmt::format("{}?fieldManager={}&force=true", path, field_manager),
                  .content_type = "application/apply-patch+yaml",
                  .body = base::dump_json(object)});
}

Result<ApiAnswer> ApiClient::patch(const std::string& path, const Json& change) {
  return checked({.method = "PATCH",
                  .target = fmt::format("{}?fieldManager={}", path, field_manager),
                  .content_type = "application/strategic-merge-patch+json",
                  .body = base::dump_json(change)});
}

Result<ApiAnswer> ApiClient::remove(const std::string& path) {
  const HttpRequest request{.method = "DELETE",
                            .target = path,
                            .content_type = "application/json",
                            .body = R"({"kind":"DeleteOptions","apiVersion":"v1",)"
                                    R"("propagationPolicy":"Background"})"};
  ASSIGN_OR_RETURN(auto answer, this->request(request));
  // 409: it is on its way already.
  if (answer.success() || answer.status == 404 || answer.status == 409) return answer;
  return std::unexpected(api_error(name_of(request), answer.status, answer.body));
}

std::string url_escape(std::string_view text) {
  std::string escaped;
  for (const char letter : text) {
    const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                       (letter >= '0' && letter <= '9') ||
                       std::string_view("-._~").find(letter) != std::string_view::npos;
    if (plain) {
      escaped += letter;
    } else {
      escaped += fmt::format("%{:02X}", static_cast<unsigned char>(letter));
    }
  }
  return escaped;
}

}  // namespace cluster
