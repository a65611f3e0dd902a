// The bytes a hostile peer may send, as requests and as replies: nothing is read beyond what was
// received, no message is longer than its bounds, and what a connection says does not depend on
// where its bytes were cut. The first byte says how they are.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "bench/http_parser.h"

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

// What became of one message.
struct Outcome {
  int state = 0;
  int status = 0;
  bool persistent = false;
  std::uint64_t body_bytes = 0;
  std::uint64_t asked_bytes = 0;
  std::uint64_t sequence = 0;
  std::uint32_t server_id = 0;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

template <typename Reader>
Outcome outcome_of(const Reader& reader) {
  // What is known of a malformed message may depend on where it was found to be one.
  if (reader.state() == Reader::State::malformed) {
    return {.state = static_cast<int>(reader.state()), .status = reader.refusal()};
  }
  const auto& head = reader.head();
  return {.state = static_cast<int>(reader.state()),
          .status = head.status,
          .persistent = head.persistent(),
          .body_bytes = reader.body_bytes(),
          .asked_bytes = head.asked_bytes.value_or(0),
          .sequence = head.sequence.value_or(0),
          .server_id = head.server_id.value_or(0)};
}

// All messages of a connection whose bytes come `step` at a time.
template <typename Reader>
std::vector<Outcome> messages(std::string_view bytes, std::size_t step) {
  std::vector<Outcome> all;
  Reader reader;
  while (!bytes.empty()) {
    // Memory of exactly that size, so that the sanitizer sees the first byte read beyond it.
    const std::vector<char> piece(
        bytes.begin(),
        bytes.begin() + std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(step),
                                                 static_cast<std::ptrdiff_t>(bytes.size())));
    const auto taken = reader.feed(piece.data(), piece.size());
    must(taken <= piece.size());
    bytes.remove_prefix(taken);
    must(reader.body_bytes() <= bench::max_message_bytes + 1);
    if (reader.state() == Reader::State::incomplete) {
      must(taken == piece.size());
      continue;
    }
    all.push_back(outcome_of(reader));
    if (reader.state() == Reader::State::malformed) return all;
    must(taken > 0);
    reader.reset();
    must(!reader.begun());
  }
  reader.end();
  all.push_back(outcome_of(reader));
  return all;
}

template <typename Reader>
void read_alike(std::string_view bytes, std::size_t step) {
  const auto whole = messages<Reader>(bytes, bytes.size() + 1);
  must(whole == messages<Reader>(bytes, step));
  must(whole == messages<Reader>(bytes, 1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t step = 2 + data[0] / 2U;
  if (data[0] % 2 == 0) {
    read_alike<bench::HttpReplyReader>(bytes, step);
  } else {
    read_alike<bench::HttpRequestReader>(bytes, step);
  }
  return 0;
}
