// The shard files of a checkpoint, and parts of tensors: what a rank of a run has of them.
#ifndef WYVERN_TRAINER_CHECKPOINT_SHARDS_H_
#define WYVERN_TRAINER_CHECKPOINT_SHARDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "data/io/hdf5_file.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/tensors.h"

namespace wyvern {

// A block of a row-major tensor whose elements are neighbours in memory.
struct TensorBlock {
  Shape start, size;
  int64_t num_elements = 0;
};

// Elements [begin, end) of a tensor as blocks, in this order: at most 2 rank - 1 of them (a part of
// a row, whole rows, a part of a row; the parts again so). None if begin == end; of a scalar one.
std::vector<TensorBlock> BlocksOfRange(const Shape& shape, int64_t begin, int64_t end);

// Writes parts of tensors into files of a folder, one file after the other.
class ShardWriter {
 public:
  // Files are called `prefix`00000.h5 and so on, and hold at most `max_bytes` of tensors each, or
  // one row. `folder` exists.
  ShardWriter(std::string folder, std::string prefix, int64_t max_bytes)
      : folder_(std::move(folder)), prefix_(std::move(prefix)), max_bytes_(max_bytes) {}

  // Elements [begin, end) of a tensor, which lie at `data` in host memory. Parts of one tensor come
  // one after another. After an error nothing more may be added.
  absl::Status Add(const CheckpointTensor& tensor, int64_t begin, int64_t end, const void* data);
  // Waits until the last file is on disk.
  absl::Status Finish();

  // The manifest of what was added; step and meta data are not set.
  const Manifest& written() const { return written_; }
  int64_t num_bytes() const { return num_bytes_; }  // of tensors

 private:
  absl::Status AddBlock(const CheckpointTensor& tensor, const TensorBlock& block, const char* data);
  absl::Status AddSlice(const CheckpointTensor& tensor, const Shape& start, const Shape& size,
                        const char* data);

  const std::string folder_, prefix_;
  const int64_t max_bytes_;
  Manifest written_;
  std::vector<Hdf5File> file_;  // the open one, if any
  int64_t used_ = 0;            // bytes of tensors in it
  int64_t num_bytes_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_SHARDS_H_
