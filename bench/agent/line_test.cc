#include "bench/agent/line.h"

#include <array>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

namespace bench {
namespace {

std::vector<Line> lines_of(LineReader& reader, std::string_view bytes) {
  reader.feed(bytes);
  std::vector<Line> lines;
  while (auto line = reader.next()) lines.push_back(*std::move(line));
  return lines;
}

struct Pipe {
  base::UniqueFd read;
  base::UniqueFd write;
};

Pipe make_pipe() {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

TEST(LineReader, CutsLinesHoweverTheBytesArrive) {
  const std::string_view text = "one\n\nthree\nfour";
  const std::vector<Line> expected{{"one"}, {""}, {"three"}};
  for (std::size_t step = 1; step <= text.size(); ++step) {
    LineReader reader(100);
    std::vector<Line> lines;
    for (std::size_t at = 0; at < text.size(); at += step) {
      const auto more = lines_of(reader, text.substr(at, step));
      lines.insert(lines.end(), more.begin(), more.end());
    }
    EXPECT_EQ(lines, expected) << "in steps of " << step;
    EXPECT_EQ(lines_of(reader, "\n"), std::vector<Line>{{"four"}});
  }
}

TEST(LineReader, TakesALineOfTheLimitAndRefusesOneByteMore) {
  LineReader reader(4);
  EXPECT_EQ(lines_of(reader, "1234\n"), std::vector<Line>{{"1234"}});
  EXPECT_EQ(lines_of(reader, "12345\nok\n"), (std::vector<Line>{{"", true}, {"ok"}}));
}

TEST(LineReader, ReportsATooLongLineOnceAndBeforeItEnds) {
  LineReader reader(4);
  EXPECT_EQ(lines_of(reader, "123"), std::vector<Line>{});
  EXPECT_EQ(lines_of(reader, "45"), (std::vector<Line>{{"", true}}));
  EXPECT_EQ(lines_of(reader, std::string(100'000, 'x')), std::vector<Line>{});
  EXPECT_EQ(lines_of(reader, "end\nok\n"), std::vector<Line>{{"ok"}});
}

TEST(WriteSome, DoesNotBlockOnAFullPipeAndTakesUpWhereItStopped) {
  const Pipe pipe = make_pipe();
  const std::string text(std::size_t{1} << 20, 'x');
  const auto first = write_some(pipe.write.get(), text);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_GT(*first, 0U);
  EXPECT_LT(*first, text.size());
  EXPECT_EQ(write_some(pipe.write.get(), text).value(), 0U);
  std::array<char, 8192> chunk;
  ASSERT_EQ(::read(pipe.read.get(), chunk.data(), chunk.size()),
            static_cast<ssize_t>(chunk.size()));
  EXPECT_GT(write_some(pipe.write.get(), text).value(), 0U);
}

TEST(WriteSome, ReportsAReaderThatIsGoneWithoutASignal) {
  Pipe pipe = make_pipe();
  pipe.read.reset();
  EXPECT_EQ(write_some(pipe.write.get(), "x").error().kind, base::ErrorKind::peer_lost);

  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const base::UniqueFd ours(ends[0]);
  base::UniqueFd(ends[1]).reset();
  EXPECT_EQ(write_some(ours.get(), "x").error().kind, base::ErrorKind::peer_lost);
}

TEST(WriteWhole, GivesUpAtItsDeadlineAndWhenInterrupted) {
  const Pipe pipe = make_pipe();
  const std::string text(std::size_t{1} << 20, 'x');
  const auto now = base::monotonic_now();
  EXPECT_EQ(write_whole(pipe.write.get(), text, now, -1).error().kind, base::ErrorKind::timed_out);
  const Pipe interrupt = make_pipe();
  ASSERT_EQ(::write(interrupt.write.get(), "x", 1), 1);
  EXPECT_EQ(write_whole(pipe.write.get(), text, now + std::chrono::hours(1), interrupt.read.get())
                .error()
                .kind,
            base::ErrorKind::interrupted);
}

}  // namespace
}  // namespace bench
