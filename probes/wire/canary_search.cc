#include "probes/wire/canary_search.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace probes {
namespace {

using base::canary_length;

std::string_view as_text(base::ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// memmem(3), which is much quicker than std::string_view::find at what is not there.
std::size_t place_of(std::string_view text, std::string_view token, std::size_t from) {
  const void* found = ::memmem(text.data() + from, text.size() - from, token.data(), token.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::optional<std::uint32_t> number_in(std::string_view digits) {
  std::uint32_t number = 0;
  const auto* const end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, number, 16);
  return digits.empty() || read.ec != std::errc{} || read.ptr != end ? std::nullopt
                                                                     : std::optional(number);
}

}  // namespace

void CanarySearch::look(std::string_view text, std::size_t starts) {
  for (std::size_t i = 0; i < tokens_->size(); ++i) {
    const std::string_view token = (*tokens_)[i];
    const auto within = text.substr(0, std::min(text.size(), starts + token.size() - 1));
    for (auto at = place_of(within, token, 0); at != std::string_view::npos;
         at = place_of(within, token, at + 1)) {
      const auto digits = text.substr(at + token.size(), canary_length - token.size());
      sightings_.push_back(
          {i, digits.size() == canary_length - token.size() ? number_in(digits) : std::nullopt});
    }
  }
}

void CanarySearch::feed(base::ByteSpan more) {
  if (more.empty()) return;
  const auto text = as_text(more);
  // What begins in the tail: looked at with so much of what follows as completes it.
  std::array<char, 2 * canary_length> seam;
  std::memcpy(seam.data(), tail_.data(), tail_size_);
  const auto borrowed = std::min(text.size(), canary_length - 1);
  std::memcpy(seam.data() + tail_size_, text.data(), borrowed);
  const std::string_view joined(seam.data(), tail_size_ + borrowed);
  // A start with less than a whole canary behind it waits in the new tail.
  const auto whole_starts = [](std::size_t size) {
    return size >= canary_length ? size - canary_length + 1 : 0;
  };
  if (const auto starts = std::min(tail_size_, whole_starts(joined.size())); starts > 0) {
    look(joined, starts);
  }
  if (const auto starts = whole_starts(text.size()); starts > 0) look(text, starts);
  if (text.size() >= tail_.size()) {
    std::memcpy(tail_.data(), text.data() + text.size() - tail_.size(), tail_.size());
    tail_size_ = tail_.size();
  } else {
    const auto kept = std::min(joined.size(), tail_.size());
    std::memcpy(tail_.data(), joined.data() + joined.size() - kept, kept);
    tail_size_ = kept;
  }
}

void CanarySearch::end() {
  look({tail_.data(), tail_size_}, tail_size_);
  tail_size_ = 0;
}

}  // namespace probes
