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

}  // namespace bench
