// One direction of a TCP connection as a capture sees it: segments in whatever order, its bytes out
// in theirs, each once (RFC 9293, 3.10.7.4). What comes again is handed out apart, for whoever
// looks for something must look there too: nothing says that both copies are alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "base/packet.h"

namespace probes {

// What takes a stream's bytes.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual void bytes(base::ByteSpan more) = 0;   // the next ones, in order
  virtual void again(base::ByteSpan known) = 0;  // of a place that has been passed, or is waiting
  virtual void missing(std::uint64_t size) = 0;  // so many were never seen; then it goes on
};

class ByteStream {
 public:
  // `room`: how many bytes may wait for what comes before them, shared by all streams of a capture.
  explicit ByteStream(std::size_t& room) : room_(&room) {}
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;
  ~ByteStream();

  void take(const base::TcpSegment& segment, ByteSink& sink);
  // Nothing follows: what still waits is handed out behind the gaps before it.
  void finish(ByteSink& sink);

  [[nodiscard]] bool began() const { return began_; }
  // Its first segment was no SYN: something may have passed before.
  [[nodiscard]] bool begun_midway() const { return midway_; }
  // Its FIN has come, and everything before it.
  [[nodiscard]] bool whole() const { return end_ && position_ >= *end_; }

 private:
  void deliver(std::uint64_t offset, base::ByteSpan bytes, ByteSink& sink);
  void keep(std::uint64_t offset, base::ByteSpan bytes, ByteSink& sink);
  // Hands out what no longer waits for anything.
  void drain(ByteSink& sink);
  // Gives up the first gap.
  void skip(ByteSink& sink);

  std::size_t* room_;
  bool began_ = false;
  bool midway_ = false;
  std::uint32_t next_ = 0;  // sequence number of `position_`, modulo 2^32
  // Offsets count from the first byte and never wrap.
  std::uint64_t position_ = 0;
  std::optional<std::uint64_t> end_;
  std::map<std::uint64_t, std::vector<std::uint8_t>> waiting_;  // by offset
};

}  // namespace probes
