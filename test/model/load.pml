/*
 * load.pml
 *		A load against pages that change meanwhile, and the order in which a node
 *		and the links to it are published; see COHERENCE in src/cache/mirror.h.
 *
 * MODEL						SOURCE
 *	begin						KnnPublishBegin: KnnMirrorViewOf with what was found
 *								before as long as the epoch is the same, then
 *								KnnMirrorPinForChange
 *	writer insert				write_node (am/hnsw_insert.c) through KnnCacheWrite,
 *								whose publishing is not under the page's lock; then
 *								apply_record (am/hnsw_link.c)
 *	writer mark					mark_tombstones (am/hnsw_vacuum.c), and back again as
 *								KnnHnswJoinNode does
 *	loader						KnnMirrorLoad: prepare, zero_units, load_pages,
 *								copy_crossing, copy_page, end_loading
 *	reader						KnnMirrorAttach, flat_neighbours, flat_score
 *	evictor						KnnCacheDiscard
 *
 * The index has a node N, whose links item (links and a flag) is in page 2, and a
 * node X is inserted, whose code crosses from page 0 into page 1 (or fits into one:
 * then that is page 0 alone, a special case).  The mirror has a word for each.
 * Pins are those of pins.pml in short: nothing is freed while there is one.
 *
 * PROPERTIES.  A reader that follows a link from N finds the code of X.  At the end a
 * mirror that is ready is equal to the pages: no change was lost, none was undone.
 *
 * WEAK ORDER (arm64).  Between the stores of a code and of the first link to it lie
 * the locks of other pages, which are full barriers.  A reader needs none: where the
 * code is follows from the link (an address dependency).  The mutations CODE_FIRST
 * and DEPENDENCY show what would happen otherwise.
 *
 * MUTATIONS
 *	BREAK_KNOWN_FIRST	pages are copied before the mirror is made known
 *	BREAK_EPOCH			making it known does not raise the epoch
 *	BREAK_LOOK_UP		a writer looks for the mirror before it locks the page
 *	BREAK_UNLOCKED		links are published after the page is unlocked
 *	BREAK_CODE_FIRST	a link is published before the code
 *	BREAK_DEPENDENCY	a reader reads the code before the link
 *	BREAK_CROSSING		an item that crosses pages is read page by page and stored
 *						when none is locked
 *	BREAK_GENERATION	the end of a load does not look whose descriptor it is
 */
#define FREE 0
#define PREPARED 1
#define LOADING 2
#define READY 3
#define GOING 4

#define NP 4					/* who may have a pin */

bit page_locked[3];
bit page_code[2];				/* by page: X's code is written */
bit page_link;					/* N links to X */
bit page_dead;					/* N's flag */

byte state;
byte gen;
byte epoch;
bit pins[NP];
bit lock;
bit code[2];					/* the mirror: halves of the code of X, */
bit link;						/* the links and */
bit dead;						/* the flag of N */
byte ended;

#define ACQUIRE atomic { lock == 0 -> lock = 1 }
#define RELEASE lock = 0
#define LOCK_PAGE(n) atomic { page_locked[n] == 0 -> page_locked[n] = 1 }
#define UNLOCK_PAGE(n) page_locked[n] = 0
#ifdef BREAK_UNLOCKED
#define RELEASE_PAGE(n) skip	/* it was unlocked before */
#else
#define RELEASE_PAGE(n) UNLOCK_PAGE(n)
#endif

inline look_up()
{
	atomic {
		lock == 0;
		known = (state == LOADING || state == READY);
		known_gen = (known -> gen : 0)
	}
}

/* sets on: there is a mirror to follow, and it is pinned */
inline begin(p)
{
	e = epoch;
	if
	:: e != known_epoch ->
		look_up();
		known_epoch = e
	:: else
	fi;
	e = 0;
	if
	:: known ->
		pins[p] = 1;
		if
		:: gen == known_gen && (state == READY || state == LOADING) -> on = 1
		:: else -> on = 0; pins[p] = 0
		fi
	:: else -> on = 0
	fi
}

#define END(p) pins[p] = 0; on = 0

/* store_links_item, of the item as the page has it */
inline publish_n(p)
{
#ifdef BREAK_UNLOCKED
	bit seen_dead = page_dead;
	bit seen_link = page_link;
	UNLOCK_PAGE(2);
#else
#define seen_dead page_dead
#define seen_link page_link
#endif
	if
	:: on ->
		dead = seen_dead;
		link = seen_link;
		END(p)
	:: else
	fi
}

inline publish_code(p)
{
	begin(p);
	if
	:: on ->
		code[0] = 1;
		code[1] = 1;
		END(p)
	:: else
	fi
}

proctype insert()
{
	bit known, on;
	byte known_gen, known_epoch, e;

	/* one record, or one for each page */
	if
	:: true ->
		LOCK_PAGE(0);
		LOCK_PAGE(1);
		page_code[0] = 1;
		page_code[1] = 1;
		UNLOCK_PAGE(0);
		UNLOCK_PAGE(1)
	:: true ->
		LOCK_PAGE(0);
		page_code[0] = 1;
		UNLOCK_PAGE(0);
		LOCK_PAGE(1);
		page_code[1] = 1;
		UNLOCK_PAGE(1)
	fi;
#ifndef BREAK_CODE_FIRST
	publish_code(0);
#endif

#ifdef BREAK_LOOK_UP
	begin(0);
	LOCK_PAGE(2);
#else
	LOCK_PAGE(2);
	begin(0);
#endif
	page_link = 1;
	publish_n(0);
	RELEASE_PAGE(2);
#ifdef BREAK_CODE_FIRST
	publish_code(0);
#endif
	ended++
}

proctype mark()
{
	bit known, on;
	byte known_gen, known_epoch, e, i;

	do
	:: i < 2 ->
		LOCK_PAGE(2);
		begin(1);
		page_dead = 1 - i;
		publish_n(1);
		RELEASE_PAGE(2);
		i++
	:: else -> break
	od;
	ended++
}

inline known_to_all()
{
	atomic {
		lock == 0;
		state = LOADING;
#ifndef BREAK_EPOCH
		epoch++
#endif
	}
}

inline copy_code()
{
#ifdef BREAK_CROSSING
	LOCK_PAGE(0);
	item[0] = page_code[0];
	UNLOCK_PAGE(0);
	LOCK_PAGE(1);
	item[1] = page_code[1];
	UNLOCK_PAGE(1);
	code[0] = item[0];
	code[1] = item[1];
#else
	LOCK_PAGE(0);
	LOCK_PAGE(1);
	item[0] = page_code[0];
	item[1] = page_code[1];
	code[0] = item[0];
	code[1] = item[1];
	UNLOCK_PAGE(0);
	UNLOCK_PAGE(1);
#endif
	item[0] = 0;
	item[1] = 0
}

inline copy_n()
{
	LOCK_PAGE(2);
	dead = page_dead;
	link = page_link;
	UNLOCK_PAGE(2)
}

proctype loader(byte loads)
{
	byte my_gen;
	bit item[2];

	do
	:: loads > 0 ->
		ACQUIRE;
		if
		:: state == FREE ->
			state = PREPARED;
			gen++;
			my_gen = gen;
			RELEASE;
			/* zero_units */
			d_step { code[0] = 0; code[1] = 0; link = 0; dead = 0 }
#ifdef BREAK_KNOWN_FIRST
			copy_n();
			copy_code();
			known_to_all();
#else
			known_to_all();
			pins[2] = 1;
			if
			:: gen == my_gen ->
				copy_n();
				copy_code()
			:: else
			fi;
			pins[2] = 0;
#endif
			atomic {
				lock == 0;
				if
#ifdef BREAK_GENERATION
				:: true -> state = READY
#else
				:: gen == my_gen && state == LOADING -> state = READY
				:: else
#endif
				fi
			}
		:: else -> RELEASE
		fi;
		loads--
	:: else -> break
	od;
	ended++
}

proctype reader(byte times)
{
	byte known_gen;
	bit x;
#ifdef BREAK_DEPENDENCY
	bit early;
#endif

	do
	:: times > 0 ->
		atomic {
			if
			:: state == READY && lock == 0 -> known_gen = gen
			:: else -> goto next
			fi
		}
		pins[3] = 1;
		if
		:: gen == known_gen && state == READY ->
#ifdef BREAK_DEPENDENCY
			early = code[0] && code[1];
			x = link;
			assert(!x || early);
#else
			x = link;
			if
			:: x -> assert(code[0] && code[1])
			:: else
			fi;
#endif
			x = 0
		:: else
		fi;
		pins[3] = 0;
next:
		known_gen = 0;
		times--
	:: else -> break
	od;
	ended++
}

proctype evictor(byte times)
{
	do
	:: times > 0 ->
		ACQUIRE;
		if
		:: state != FREE && state != PREPARED ->
			gen++;
			state = GOING;
			epoch++;
			if
			:: !pins[0] && !pins[1] && !pins[2] && !pins[3] -> state = FREE
			:: else
			fi
		:: else
		fi;
		RELEASE;
		times--
	:: else -> break
	od;
	ended++
}

init
{
	atomic {
		gen = 1;
		epoch = 1;
		run insert();
		run loader(2);
		run evictor(1);
		/* not both, to bound the states */
		if
		:: run reader(1)
		:: run mark()
		fi
	}
	ended == 4;
	assert(state != READY || (code[0] == page_code[0] && code[1] == page_code[1] &&
		link == page_link && dead == page_dead));
	assert(state != LOADING && state != PREPARED)
}
