// What the receiver of one flow of numbered datagrams learns from them: which came, which came
// again, which came late, and how unevenly.
#pragma once

#include <cstdint>
#include <vector>

namespace bench {

// Numbers begin with 1. Memory is fixed: a datagram that comes more than `remembered` after its
// turn counts as a fresh one, whether it is or not.
class Arrivals {
 public:
  static constexpr std::uint64_t remembered = 65'536;

  Arrivals() : seen_(remembered / 64) {}

  // One datagram, by its number and the two ends' own clocks, which need not agree. `counted`: it
  // was due inside the window.
  void arrived(std::uint64_t sequence, std::int64_t sent_ns, std::int64_t arrived_ns, bool counted);

  [[nodiscard]] std::uint64_t received() const { return received_; }  // each once
  [[nodiscard]] std::uint64_t counted() const { return counted_; }    // of them
  [[nodiscard]] std::uint64_t duplicates() const { return duplicates_; }
  // Of those received once, the ones numbered below one that came before (RFC 4737, section 3.3).
  [[nodiscard]] std::uint64_t reordered() const { return reordered_; }
  // RFC 3550, section 6.4.1, as appendix A.8 works it out, over datagrams in the order they came:
  // J += (|D| - J) / 16. Duplicates are left out: they are nothing the sender sent.
  [[nodiscard]] double jitter_ns() const { return jitter_ns_; }

 private:
  // Whether it is the first of its number; remembers it.
  bool first_of_its_number(std::uint64_t sequence);

  std::vector<std::uint64_t> seen_;  // a bit for each of the latest numbers, in a ring
  std::uint64_t highest_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t counted_ = 0;
  std::uint64_t duplicates_ = 0;
  std::uint64_t reordered_ = 0;
  std::int64_t transit_ns_ = 0;
  double jitter_ns_ = 0;
};

}  // namespace bench
