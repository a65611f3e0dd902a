// OpenSSL's calls on a blocking socket whose waits are bounded, as exchanges end.
#pragma once

#include <cerrno>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "bench/exchange.h"
#include "bench/sockets.h"

namespace bench::tls {

// Repeats a call until it is done. `replied`: it is; `bad_reply`: the peer's alert, or no TLS.
template <typename Call>
ExchangeEnd drive(SSL* session, const Call& call, base::MonotonicTime deadline, int stop_fd) {
  using Kind = ExchangeEnd::Kind;
  for (;;) {
    errno = 0;
    const int n = call();
    const int code = errno;
    if (n > 0) [[likely]]
      return {};
    switch (::SSL_get_error(session, n)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        if (readable(stop_fd)) return {Kind::stopped};
        if (base::monotonic_now() >= deadline) return {Kind::timed_out};
        continue;
      case SSL_ERROR_ZERO_RETURN:
        return {Kind::closed_early};
      case SSL_ERROR_SYSCALL:
        ::ERR_clear_error();
        return code == 0 ? ExchangeEnd{Kind::closed_early} : ExchangeEnd{Kind::failed, code};
      default: {
        const bool ended = ERR_GET_REASON(::ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
        ::ERR_clear_error();
        return {ended ? Kind::closed_early : Kind::bad_reply};
      }
    }
  }
}

}  // namespace bench::tls
