// Any bytes as one direction of a connection: what is made of them does not depend on how they are
// cut, and the readers of hellos end within them.
#include <cstdint>
#include <cstdlib>

#include "probes/wire/tls.h"

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const base::ByteSpan bytes(data, size);
  probes::TlsStream whole;
  whole.take(bytes);
  probes::TlsStream cut;
  for (std::size_t at = 0, step = 1; at < size; at += step, step = step % 7 + 1) {
    cut.take(bytes.subspan(at, std::min(step, size - at)));
  }
  must(whole.bytes() == size && cut.bytes() == size);
  must(whole.stranger_at() == cut.stranger_at());
  must(whole.stranger() == cut.stranger());
  must(whole.client_hello() == cut.client_hello());
  must(whole.server_hello() == cut.server_hello());
  must(whole.data_before_hello() == cut.data_before_hello());
  if (whole.stranger_at()) must(*whole.stranger_at() < size);
  if (const auto hello = probes::read_client_hello(bytes)) must(!hello->versions.empty());
  static_cast<void>(probes::read_server_hello(bytes));
  return 0;
}
