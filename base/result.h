// Errors are values: a function that can fail in the ordinary course of things returns Result<T>.
// An Error is *our* trouble (bad file, missing tool, refused permission). What the system under
// test does wrong is a fail, what the environment lacks is a skip; neither travels as an Error
// beyond the room that noticed it.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace base {

enum class ErrorKind {
  usage,          // the command line is wrong
  input,          // a file the user gave us is wrong
  missing,        // a tool, file or kernel feature is not there
  not_permitted,  // the kernel refused for want of privilege
  system,         // a system call failed for another reason
  timed_out,      // a bounded wait ran out
  peer_lost,      // the other end of a channel went away
  workload,       // traffic itself could not be made
  interrupted,    // the user asked to stop
};

struct Error {
  ErrorKind kind = ErrorKind::system;
  std::string message;  // what happened and where, one sentence or a caret block
  std::string mend{};   // what the reader can do about it; empty where nothing is known
  int code = 0;         // errno, where the kernel gave one

  bool operator==(const Error&) const = default;
};

template <typename T = void>
using Result = std::expected<T, Error>;

// The error as the user reads it: the message, and below it the mend where there is one.
[[nodiscard]] std::string describe_error(const Error& error);

template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail(ErrorKind kind, fmt::format_string<Args...> format,
                                          Args&&... args) {
  return std::unexpected(
      Error{.kind = kind, .message = fmt::format(format, std::forward<Args>(args)...)});
}

// The same with a mend: what the reader can do.
[[nodiscard]] std::unexpected<Error> fail_with_mend(ErrorKind kind, std::string message,
                                                    std::string mend);

// The error for a failed system call: "connect 10.0.0.1:80: Connection refused". EPERM and EACCES
// become not_permitted, ETIMEDOUT timed_out, the rest system.
[[nodiscard]] std::unexpected<Error> system_error_text(int code, std::string what);

template <typename... Args>
[[nodiscard]] std::unexpected<Error> system_error(int code, fmt::format_string<Args...> format,
                                                  Args&&... args) {
  return system_error_text(code, fmt::format(format, std::forward<Args>(args)...));
}

// The same error, its message led by where it happened: "node1: nft: ...".
template <typename... Args>
[[nodiscard]] std::unexpected<Error> in_context(Error error, fmt::format_string<Args...> format,
                                                Args&&... args) {
  error.message =
      fmt::format("{}: {}", fmt::format(format, std::forward<Args>(args)...), error.message);
  return std::unexpected(std::move(error));
}

}  // namespace base

#define SB_CONCAT_INNER(a, b) a##b
#define SB_CONCAT(a, b) SB_CONCAT_INNER(a, b)

// RETURN_IF_ERROR(expression): returns the error of a Result<...> expression to our caller.
#define RETURN_IF_ERROR(...)                                \
  do {                                                      \
    if (auto sb_result = (__VA_ARGS__); !sb_result) {       \
      return std::unexpected(std::move(sb_result).error()); \
    }                                                       \
  } while (false)

// ASSIGN_OR_RETURN(auto value, expression): declares or assigns from a Result, or returns its
// error to our caller.
#define ASSIGN_OR_RETURN(declaration, ...) \
  ASSIGN_OR_RETURN_INNER(SB_CONCAT(sb_result_, __COUNTER__), declaration, __VA_ARGS__)
#define ASSIGN_OR_RETURN_INNER(result, declaration, ...)          \
  auto result = (__VA_ARGS__);                                    \
  if (!result) return std::unexpected(std::move(result).error()); \
  declaration = std::move(*result)
