/*
 * growth.pml
 *		Mirrors that grow: by the load itself, which covers what was added since it
 *		took its units, and by writers that add nodes.
 *
 * MODEL						SOURCE
 *	add_units					KnnMirrorAddUnits					(cache/mirror.c)
 *	extend						KnnMirrorExtendView, extend_column
 *	look_up, begin				KnnMirrorViewOf, KnnPublishBegin
 *	publish						KnnMirrorStore						(cache/publish.c)
 *	allocate and cover			KnnCacheAllocate, KnnMirrorCover, cover	(cache/load.c)
 *	writer						KnnHnswInsertValue: write_node, KnnHnswLinkBack; then
 *								a change of the other writer's node, as the pruning
 *								of its list
 *	vacuum						vacuum_tid_page, which publishes all items of a
 *								page that are given out
 *	loader						KnnMirrorLoad; the shape of the index, with how many
 *								nodes there are, was read before (KnnStoreOpen)
 *	reader						KnnMirrorAttach, flat_neighbours, grow
 *
 * A unit has room for one node, and holds dirt when it is taken.  Node 0 is there at
 * the start, and its links are a page and an item of their own.  A writer finds no
 * room for its node, perhaps: then the mirror goes, for good here.
 *
 * PROPERTIES.  A reader that follows a link finds the node within reach, and written.
 * At the end a mirror that is ready has all nodes, as the pages have them.
 *
 * An item beyond the units that a writer knows of is left out by publish: the
 * page's copy by the load is still to come, or the item was never written.
 *
 * WEAK ORDER (arm64).  The reader's load of nunits may pass that of the link, which
 * only a branch follows: the barrier at the start of KnnMirrorExtendView is needed.
 *
 * MUTATIONS
 *	BREAK_COVER			a writer does not make room for its node
 *	BREAK_COVER_ALL		the load does not look again how many nodes there are
 *	BREAK_COVER_FIRST	it looks before the mirror is known
 *	BREAK_COPY_FIRST	it copies pages before it covers their items
 *	BREAK_CHAIN			nunits is raised before the chain is extended
 *	BREAK_COVERED		covered is raised before the units are there
 *	BREAK_EXTEND		a writer does not extend its view
 *	BREAK_GROW			a reader does not
 *	BREAK_GROW_BARRIER	nunits is read before the link
 *	BREAK_GOING			an item beyond marks the mirror as going, and the end of the
 *						load as ready
 */
#define FREE 0
#define PREPARED 1
#define LOADING 2
#define READY 3
#define GOING 4

#define NU 3
#define DIRT 3
#define END 3					/* of a chain */

bit page_locked[NU];
byte page[NU];					/* items: 0 not written, 1 written, 2 changed */
bit links_locked;
bit page_link[NU];				/* node 0 links to */
byte used = 1;					/* in the metapage */

byte state;
byte gen = 1;
byte epoch = 1;
bit lock;

byte ntaken;
byte next_of[NU];
byte item[NU];					/* by unit */
byte first;
byte last;
byte nunits;
byte covered;
bit link[NU];
byte ended;

#define ACQUIRE atomic { lock == 0 -> lock = 1 }
#define RELEASE lock = 0
#define LOCK_PAGE(n) atomic { page_locked[n] == 0 -> page_locked[n] = 1 }
#define UNLOCK_PAGE(n) page_locked[n] = 0
#define LOCK_LINKS atomic { links_locked == 0 -> links_locked = 1 }
#define UNLOCK_LINKS links_locked = 0

/* Under the lock: units for ids less than count. */
inline add_units(count)
{
	do
	:: nunits < count ->
		atomic {
			u = NU - 1 - ntaken;	/* not in the order of addresses */
			ntaken++;
			next_of[u] = END
		}
#ifdef BREAK_CHAIN
		nunits++;
#endif
		if
		:: ntaken == 1 -> first = u
		:: else -> next_of[last] = u
		fi;
		last = u;
		item[u] = 0;
#ifndef BREAK_CHAIN
		nunits++;
#endif
		u = 0
	:: else -> break
	od
}

/* unit[] and n are the process's view */
inline extend_to(count)
{
	d_step {
		to = count;
		do
		:: n < to ->
			if
			:: n == 0 -> unit[n] = first
			:: else -> unit[n] = next_of[unit[n - 1]]
			fi;
			/* the chain is there */
			assert(unit[n] != END);
			n++
		:: else -> break
		od;
		to = 0
	}
}

inline extend()
{
	extend_to(nunits)
}

inline look_up()
{
	e = epoch;
	if
	:: e != known_epoch ->
		atomic {
			lock == 0;
			known = (state == LOADING || state == READY);
			known_gen = gen;
			known_epoch = e
		}
		if
		:: known -> extend()
		:: else
		fi
	:: else
	fi;
	e = 0
}

inline begin()
{
	look_up();
	on = (known && known_gen == gen && (state == LOADING || state == READY));
	if
	:: on ->
#ifndef BREAK_EXTEND
		extend()
#endif
		skip
	:: else
	fi
}

inline publish(id)
{
	if
	:: on && id < n -> item[unit[id]] = page[id]
	:: on && id >= n ->
#ifdef BREAK_GOING
		state = GOING
#endif
		skip
	:: else
	fi;
	on = 0
}

#define VIEW \
	bit known, on; \
	byte known_gen, known_epoch, e, n, to, u; \
	byte unit[NU]

proctype writer()
{
	VIEW;
	byte id, other;

	/* KnnStoreAllocate: the metapage is locked */
	atomic { id = used; used++; other = 3 - id }
#ifndef BREAK_COVER
	look_up();
	if
	:: known && id >= covered ->
		ACQUIRE;
		if
		:: gen == known_gen && (state == LOADING || state == READY) && id >= covered ->
			if
			:: true ->
#ifdef BREAK_COVERED
				covered = id + 1;
#endif
				add_units(id + 1);
				covered = id + 1
			:: true ->
				atomic { gen++; state = GOING; epoch++ }
			fi
		:: else
		fi;
		RELEASE
	:: else
	fi;
#endif
	/* write_node, KnnCacheWrite */
	LOCK_PAGE(id);
	page[id] = 1;
	UNLOCK_PAGE(id);
	begin();
	publish(id);

	/* KnnHnswLinkBack */
	LOCK_LINKS;
	begin();
	page_link[id] = 1;
	if
	:: on -> link[id] = 1; on = 0
	:: else
	fi;
	e = page_link[other];
	UNLOCK_LINKS;
	if
	:: e ->
		e = 0;
		LOCK_PAGE(other);
		begin();
		page[other] = 2;
		publish(other);
		UNLOCK_PAGE(other)
	:: else
	fi;
	ended++
}

proctype vacuum()
{
	VIEW;
	byte id, count;

	count = used;
	do
	:: id < count ->
		LOCK_PAGE(id);
		begin();
		publish(id);
		UNLOCK_PAGE(id);
		id++
	:: else -> break
	od;
	ended++
}

inline copy_pages()
{
	do
	:: id < count ->
		LOCK_PAGE(id);
		if
		:: id < n -> item[unit[id]] = page[id]
		:: else
		fi;
		UNLOCK_PAGE(id);
		id++
	:: else -> break
	od;
	id = 0;
	LOCK_LINKS;
	link[1] = page_link[1];
	link[2] = page_link[2];
	UNLOCK_LINKS
}

inline cover_all()
{
	count = used;
	ACQUIRE;
	if
	:: count > covered ->
		add_units(count);
		covered = count
	:: else
	fi;
	RELEASE;
	extend()
}

proctype loader()
{
	VIEW;
	byte id, count;

	/* KnnStoreOpen */
	count = used;
	ACQUIRE;
	state = PREPARED;
	gen++;
	known_gen = gen;
	add_units(count);
	covered = count;
	RELEASE;
#ifdef BREAK_COVER_FIRST
	cover_all();
#endif
	atomic { lock == 0; state = LOADING; epoch++ }
	extend();
#ifdef BREAK_COPY_FIRST
	count = used;
	copy_pages();
#endif
#if !defined(BREAK_COVER_ALL) && !defined(BREAK_COVER_FIRST)
	cover_all();
#endif
#ifndef BREAK_COPY_FIRST
	copy_pages();
#endif
	/* end_loading */
	atomic {
		lock == 0;
		if
#ifdef BREAK_GOING
		:: gen == known_gen -> state = READY
#else
		:: gen == known_gen && state == LOADING -> state = READY
#endif
		:: else
		fi
	}
	ended++
}

proctype reader()
{
	VIEW;
	byte id;
#ifdef BREAK_GROW_BARRIER
	byte early;
#endif

	if
	:: state == READY ->
		extend();
		if
		:: id = 1
		:: id = 2
		fi;
#ifdef BREAK_GROW_BARRIER
		early = nunits;
#endif
		if
		:: link[id] ->
			if
			:: id >= n ->
#ifdef BREAK_GROW_BARRIER
				extend_to(early)
#elif !defined(BREAK_GROW)
				extend()
#endif
				skip
			:: else
			fi;
			assert(id < n);
			assert(item[unit[id]] == 1 || item[unit[id]] == 2)
		:: else
		fi
	:: ended >= 2
	fi;
	ended++
}

init
{
	byte id, u;

	atomic {
		item[0] = DIRT; item[1] = DIRT; item[2] = DIRT;
		page[0] = 1;
		run loader();
		run writer();
		/* one of these, to bound the states */
		if
		:: run reader()
		:: run writer()
		:: run vacuum()
		fi
	}
	ended == 3;
	atomic {
		if
		:: state == READY ->
			assert(nunits >= used);
			u = first;
			do
			:: id < used ->
				assert(item[u] == page[id]);
				assert(link[id] == page_link[id]);
				u = next_of[u];
				id++
			:: else -> break
			od
		:: else -> assert(state == GOING)
		fi
	}
}
