// Looks for canaries in a stream of bytes that comes in pieces, wherever those are cut. It keeps
// less than one canary's length of what has passed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/canary.h"
#include "base/packet.h"

namespace probes {

struct Sighting {
  std::size_t token = 0;                // which of those looked for
  std::optional<std::uint32_t> number;  // nothing where the stream ended inside, or holds no digits
};

// The tokens of a capture, each of base::token_length digits. Outlives its searches.
class CanarySearch {
 public:
  explicit CanarySearch(const std::vector<std::string>& tokens) : tokens_(&tokens) {}

  // The next bytes; `found` is called with every canary that is whole now.
  template <typename Found>
  void bytes(base::ByteSpan more, const Found& found) {
    sightings_.clear();
    feed(more);
    for (const auto& sighting : sightings_) found(sighting);
  }
  // The stream ends here, or bytes are missing: what was begun stands alone.
  template <typename Found>
  void cut(const Found& found) {
    sightings_.clear();
    end();
    for (const auto& sighting : sightings_) found(sighting);
  }

 private:
  void feed(base::ByteSpan more);
  void end();
  // Every canary that begins in the first `starts` bytes.
  void look(std::string_view text, std::size_t starts);

  const std::vector<std::string>* tokens_;
  std::array<char, base::canary_length - 1> tail_{};  // the end of what has passed
  std::size_t tail_size_ = 0;
  std::vector<Sighting> sightings_;
};

}  // namespace probes
