#include "bench/exchange.h"

namespace bench {

void count_exchange_end(const ExchangeEnd& end, TrafficErrors& errors) {
  switch (end.kind) {
    case ExchangeEnd::Kind::replied:
    case ExchangeEnd::Kind::stopped:
      break;
    case ExchangeEnd::Kind::closed_early:
      ++errors.closed_early;
      break;
    case ExchangeEnd::Kind::bad_reply:
      ++errors.bad_reply;
      break;
    case ExchangeEnd::Kind::timed_out:
      ++errors.timed_out;
      break;
    case ExchangeEnd::Kind::failed:
      count_exchange_error(end.code, errors);
      break;
  }
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
