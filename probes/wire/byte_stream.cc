#include "probes/wire/byte_stream.h"

#include <algorithm>
#include <utility>

namespace probes {

ByteStream::~ByteStream() {
  for (const auto& [offset, bytes] : waiting_) *room_ += bytes.size();
}

void ByteStream::take(const base::TcpSegment& segment, ByteSink& sink) {
  const bool syn = (segment.flags & base::tcp_syn) != 0;
  const bool fin = (segment.flags & base::tcp_fin) != 0;
  // A SYN takes a number of its own, before the first byte.
  const auto first = segment.sequence + (syn ? 1U : 0U);
  if (!began_) {
    if (!syn && segment.payload.empty() && !fin) return;
    began_ = true;
    midway_ = !syn;
    next_ = first;
  }
  // Modulo 2^32, as sequence numbers are.
  const auto ahead = static_cast<std::int32_t>(first - next_);
  const auto size = segment.payload.size();
  if (ahead >= 0) {
    const auto offset = position_ + static_cast<std::uint64_t>(ahead);
    if (fin && !end_) end_ = offset + size + segment.missing;
    deliver(offset, segment.payload, sink);
  } else {
    const auto known = static_cast<std::size_t>(-static_cast<std::int64_t>(ahead));
    if (fin && !end_) {
      end_ = position_ + (size + segment.missing > known ? size + segment.missing - known : 0);
    }
    const auto old = segment.payload.first(std::min(size, known));
    if (!old.empty()) sink.again(old);
    deliver(position_, segment.payload.subspan(old.size()), sink);
  }
}

void ByteStream::deliver(std::uint64_t offset, base::ByteSpan bytes, ByteSink& sink) {
  if (bytes.empty()) return;
  if (offset > position_) return keep(offset, bytes, sink);
  sink.bytes(bytes);
  position_ += bytes.size();
  next_ += static_cast<std::uint32_t>(bytes.size());
  if (!waiting_.empty()) drain(sink);
}

void ByteStream::keep(std::uint64_t offset, base::ByteSpan bytes, ByteSink& sink) {
  const auto found = waiting_.find(offset);
  if (found != waiting_.end() && found->second.size() >= bytes.size()) return sink.again(bytes);
  while (bytes.size() > *room_) {
    if (waiting_.empty()) {
      sink.missing(offset - position_);
      next_ += static_cast<std::uint32_t>(offset - position_);
      position_ = offset;
      return deliver(offset, bytes, sink);
    }
    skip(sink);
    if (offset <= position_) {
      const auto known = std::min<std::uint64_t>(position_ - offset, bytes.size());
      if (known > 0) sink.again(bytes.first(known));
      return deliver(position_, bytes.subspan(known), sink);
    }
  }
  auto& place = waiting_[offset];
  if (!place.empty()) {
    sink.again(place);
    *room_ += place.size();
  }
  *room_ -= bytes.size();
  place.assign(bytes.begin(), bytes.end());
}

void ByteStream::drain(ByteSink& sink) {
  while (!waiting_.empty() && waiting_.begin()->first <= position_) {
    auto first = waiting_.extract(waiting_.begin());
    const base::ByteSpan bytes = first.mapped();
    *room_ += bytes.size();
    const auto known = std::min<std::uint64_t>(position_ - first.key(), bytes.size());
    if (known > 0) sink.again(bytes.first(known));
    if (known == bytes.size()) continue;
    sink.bytes(bytes.subspan(known));
    position_ += bytes.size() - known;
    next_ += static_cast<std::uint32_t>(bytes.size() - known);
  }
}

void ByteStream::skip(ByteSink& sink) {
  const auto gap = waiting_.begin()->first - position_;
  sink.missing(gap);
  next_ += static_cast<std::uint32_t>(gap);
  position_ += gap;
  drain(sink);
}

void ByteStream::finish(ByteSink& sink) {
  while (!waiting_.empty()) skip(sink);
  if (end_ && position_ < *end_) {
    sink.missing(*end_ - position_);
    position_ = *end_;
  }
}

}  // namespace probes
