#include "base/bpf/bpf.h"

#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/bpf/refused.skel.h"

namespace base {
namespace {

using ::testing::HasSubstr;

TEST(BpfMessages, KeepsWhatLibbpfSaysAndPrintsNothing) {
  ::testing::internal::CaptureStderr();
  Error error;
  {
    const BpfMessages messages;
    EXPECT_EQ(messages.last_lines(), "");
    EXPECT_EQ(::bpf_object__open_file("/nowhere/x.bpf.o", nullptr), nullptr);
    error = messages.error(-ENOENT, "x: open").error();
  }
  EXPECT_EQ(::bpf_object__open_file("/nowhere/y.bpf.o", nullptr), nullptr);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_THAT(error.message, HasSubstr("x: open: No such file or directory\nlibbpf: "));
  EXPECT_EQ(error.kind, ErrorKind::system);
  EXPECT_EQ(error.code, ENOENT);
  EXPECT_EQ(BpfMessages().last_lines(), "") << "a new one starts empty";
}

TEST(BpfMessages, TellsAKernelThatCannotFromOneThatMayNot) {
  const BpfMessages messages;
  EXPECT_EQ(messages.error(-EPERM, "load").error().kind, ErrorKind::not_permitted);
  EXPECT_EQ(messages.error(EACCES, "load").error().kind, ErrorKind::not_permitted);
  EXPECT_EQ(messages.error(-EINVAL, "load").error().kind, ErrorKind::missing);
  EXPECT_EQ(messages.error(-ENOMEM, "load").error().kind, ErrorKind::system);
  // ENOTSUPP is the kernel's own number, without a name in user space.
  const auto unsupported = messages.error(-524, "load").error();
  EXPECT_EQ(unsupported.kind, ErrorKind::missing);
  EXPECT_EQ(unsupported.message, "load: Operation not supported");
}

TEST(BpfSkeleton, ARefusedProgramBringsTheVerifiersWords) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: loads an eBPF program";
  auto skeleton = open_skeleton<refused_bpf>("refused");
  ASSERT_TRUE(skeleton) << describe_error(skeleton.error());
  const auto loaded = load_skeleton(**skeleton, "refused");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().kind, ErrorKind::missing);
  EXPECT_THAT(loaded.error().message, HasSubstr("refused: load: "));
  EXPECT_THAT(loaded.error().message, HasSubstr("invalid bpf_context access off=4096"));
  EXPECT_THAT(loaded.error().mend, HasSubstr("doctor"));
}

}  // namespace
}  // namespace base
