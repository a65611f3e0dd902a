#include "bench/exchange.h"

namespace bench {

FailureClass failure_of(const ExchangeEnd& end) {
  switch (end.kind) {
    case ExchangeEnd::Kind::closed_early:
      return FailureClass::closed_early;
    case ExchangeEnd::Kind::bad_reply:
      return FailureClass::bad_reply;
    case ExchangeEnd::Kind::timed_out:
      return FailureClass::timed_out;
    case ExchangeEnd::Kind::failed:
      return exchange_failure(end.code);
    case ExchangeEnd::Kind::replied:
    case ExchangeEnd::Kind::stopped:
      break;
  }
  return FailureClass::other;
}

void count_exchange_end(const ExchangeEnd& end, TrafficErrors& errors) {
  if (end.kind == ExchangeEnd::Kind::replied || end.kind == ExchangeEnd::Kind::stopped) return;
  ++errors.of(failure_of(end));
}

int as_errno(const ExchangeEnd& end) {
  switch (end.kind) {
    case ExchangeEnd::Kind::replied:
      return 0;
    case ExchangeEnd::Kind::stopped:
      return EINTR;
    case ExchangeEnd::Kind::closed_early:
      return ECONNRESET;
    case ExchangeEnd::Kind::bad_reply:
      return EBADMSG;
    case ExchangeEnd::Kind::timed_out:
      return ETIMEDOUT;
    case ExchangeEnd::Kind::failed:
      return end.code;
  }
  return EPROTO;
}

}  // namespace bench
