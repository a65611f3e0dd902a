#include "base/result.h"

#include <cstring>

namespace base {

std::string describe_error(const Error& error) {
  if (error.mend.empty()) return error.message;
  return fmt::format("{}\n  {}", error.message, error.mend);
}

std::unexpected<Error> fail_with_mend(ErrorKind kind, std::string message, std::string mend) {
  return std::unexpected(
      Error{.kind = kind, .message = std::move(message), .mend = std::move(mend)});
}

std::unexpected<Error> system_error_text(int code, std::string what) {
  auto kind = ErrorKind::system;
  if (code == EPERM || code == EACCES) kind = ErrorKind::not_permitted;
  if (code == ETIMEDOUT) kind = ErrorKind::timed_out;
  // strerrordesc_np is thread-safe and never localised, so messages can be compared in tests.
  const char* description = ::strerrordesc_np(code);
  return std::unexpected(
      Error{.kind = kind,
            .message = fmt::format("{}: {}", what, description ? description : "unknown error"),
            .code = code});
}

}  // namespace base
