#include "trainer/checkpoint/shards.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// The HDF5 library is locked for the time of one write, and the training reads its tokens through
// it too.
constexpr int64_t kWriteBytes = int64_t{32} << 20;

// `prefix` are the leading indices that all elements of the range share; the range is one of the
// axes that remain.
void AddBlocks(const Shape& shape, Shape prefix, int64_t begin, int64_t end,
               std::vector<TensorBlock>* blocks) {
  if (begin == end) return;
  const size_t axis = prefix.size();
  int64_t row = 1;
  for (size_t i = axis + 1; i < shape.size(); ++i) row *= shape[i];
  const int64_t first = begin / row;
  if ((begin % row != 0 || end % row != 0) && first == (end - 1) / row) {
    prefix.push_back(first);
    AddBlocks(shape, std::move(prefix), begin - first * row, end - first * row, blocks);
    return;
  }
  const int64_t whole_begin = (begin + row - 1) / row * row, whole_end = end / row * row;
  AddBlocks(shape, prefix, begin, whole_begin, blocks);
  if (whole_begin < whole_end) {
    TensorBlock block{prefix, Shape(axis, 1), whole_end - whole_begin};
    block.start.push_back(whole_begin / row);
    block.size.push_back((whole_end - whole_begin) / row);
    block.start.resize(shape.size(), 0);
    block.size.insert(block.size.end(), shape.begin() + static_cast<int64_t>(axis) + 1,
                      shape.end());
    blocks->push_back(std::move(block));
  }
  AddBlocks(shape, std::move(prefix), whole_end, end, blocks);
}

// The HDF5 library does not survive everywhere that it gets no memory. What one file takes, in
// blocks of which the allocator keeps the space, is asked for before: this throws, and harms
// nothing.
void AskForMemory() {
  constexpr size_t kBlocks = 256, kBytes = size_t{64} << 10;
  std::vector<std::unique_ptr<char[]>> blocks;
  for (size_t i = 0; i < kBlocks; ++i) blocks.push_back(std::make_unique<char[]>(kBytes));
}

}  // namespace

std::vector<TensorBlock> BlocksOfRange(const Shape& shape, int64_t begin, int64_t end) {
  CHECK(0 <= begin && begin <= end && end <= NumElements(shape), "elements ", begin, " to ", end,
        " of ", ToString(shape));
  std::vector<TensorBlock> blocks;
  if (begin == end) return blocks;
  if (shape.empty()) return {{{}, {}, 1}};
  AddBlocks(shape, {}, begin, end, &blocks);
  return blocks;
}

absl::Status ShardWriter::Add(const CheckpointTensor& tensor, int64_t begin, int64_t end,
                              const void* data) {
  std::vector<ManifestTensor>& tensors = written_.tensors;
  if (tensors.empty() || tensors.back().tensor.name != tensor.name) tensors.push_back({tensor, {}});
  const auto* bytes = static_cast<const char*>(data);
  for (const TensorBlock& block : BlocksOfRange(tensor.shape, begin, end)) {
    RETURN_IF_ERROR(AddBlock(tensor, block, bytes));
    bytes += block.num_elements * SizeOf(tensor.dtype);
  }
  return absl::OkStatus();
}

absl::Status ShardWriter::AddBlock(const CheckpointTensor& tensor, const TensorBlock& block,
                                   const char* data) {
  const int64_t num_bytes = block.num_elements * SizeOf(tensor.dtype);
  if (block.size.empty() || num_bytes <= max_bytes_) {
    return AddSlice(tensor, block.start, block.size, data);
  }
  // The first axis along which it is more than one wide.
  size_t axis = 0;
  while (axis + 1 < block.size.size() && block.size[axis] == 1) ++axis;
  const int64_t row_bytes = num_bytes / block.size[axis];
  const int64_t rows = std::max<int64_t>(1, max_bytes_ / row_bytes);
  Shape start = block.start, size = block.size;
  for (int64_t row = 0; row < block.size[axis]; row += rows) {
    start[axis] = block.start[axis] + row;
    size[axis] = std::min(rows, block.size[axis] - row);
    RETURN_IF_ERROR(AddSlice(tensor, start, size, data + row * row_bytes));
  }
  return absl::OkStatus();
}

absl::Status ShardWriter::AddSlice(const CheckpointTensor& tensor, const Shape& start,
                                   const Shape& size, const char* data) {
  const int64_t num_bytes = NumElements(size) * SizeOf(tensor.dtype);
  if (!file_.empty() && used_ + num_bytes > max_bytes_) RETURN_IF_ERROR(Finish());
  if (file_.empty()) {
    AskForMemory();
    const std::string name = absl::StrFormat("%s%05d.h5", prefix_, written_.shards.size());
    ASSIGN_OR_RETURN(Hdf5File file, Hdf5File::Create(absl::StrCat(folder_, "/", name)));
    written_.shards.push_back({name, 0});
    file_.push_back(std::move(file));
    used_ = 0;
  }
  used_ += num_bytes;
  num_bytes_ += num_bytes;
  std::string dataset = absl::StrCat("/", tensor.name);
  if (size != tensor.shape) absl::StrAppend(&dataset, "@", absl::StrJoin(start, ","));
  Hdf5File& file = file_.front();
  const Hdf5Type type = StorageType(tensor.dtype);
  RETURN_IF_ERROR(file.CreateDataset(dataset, type, size));
  const int64_t rows = size.empty() ? 1 : size[0];
  const int64_t row_bytes = num_bytes / rows;
  const int64_t rows_a_write = std::max<int64_t>(1, kWriteBytes / row_bytes);
  for (int64_t row = 0; row < rows; row += rows_a_write) {
    RETURN_IF_ERROR(file.WriteSlice(dataset, type, row, std::min(rows_a_write, rows - row),
                                    data + row * row_bytes));
  }
  RETURN_IF_ERROR(file.SetAttribute(dataset, "dtype", std::string(Name(tensor.dtype))));
  written_.tensors.back().slices.push_back(
      {.shard = written_.shards.back().file,
       .dataset = dataset,
       .start = start,
       .size = size,
       .crc32 = Crc32OnThreads(data, static_cast<size_t>(num_bytes))});
  return absl::OkStatus();
}

absl::Status ShardWriter::Finish() {
  if (file_.empty()) return absl::OkStatus();
  const std::string path = absl::StrCat(folder_, "/", written_.shards.back().file);
  const absl::Status closed = file_.front().Close();
  file_.clear();
  RETURN_IF_ERROR(closed);
  RETURN_IF_ERROR(SyncPath(path));
  std::error_code error;
  written_.shards.back().num_bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error) return ErrnoStatus(error.value(), "cannot examine", path);
  return absl::OkStatus();
}

}  // namespace wyvern
